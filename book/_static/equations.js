/* Displayed equations that are too wide for a small screen are made smaller, down to a size that can still be
   read; what is wider than that scrolls inside itself, by keys too, and so do formulas in the text. A formula that
   is copied is copied as TeX. All of it can be read before this runs, and without it. */
(function () {
  "use strict";

  const SMALLEST = 12; // pixels

  const left = (element) => element.getBoundingClientRect().left;
  const right = (element) => element.getBoundingClientRect().right;

  /** Chromium reckons with the widest form of each sign that grows: what a root or formula has too much, is taken off. */
  function closeUp() {
    const selector = ".bd-article :is(msqrt, span.math > math):not([style])";
    const all = [...document.querySelectorAll(selector)].filter((element) => element.lastElementChild);
    for (const inner of [all.filter((element) => element.localName === "msqrt"), all]) {
      const gaps = inner.map((element) => right(element) - right(element.lastElementChild));
      const sizes = inner.map((element) => parseFloat(getComputedStyle(element).fontSize));
      inner.forEach((element, i) => {
        if (gaps[i] > 0.5 && !element.hasAttribute("style")) element.style.marginInlineEnd = `${-gaps[i] / sizes[i]}em`;
      });
    }
  }

  /** How wide a formula is, in pixels, and the size of its letters. */
  function measure(formula) {
    const [first, last] = [formula.firstElementChild, formula.lastElementChild];
    const beyond = formula.scrollWidth > formula.clientWidth + 1 ? formula.scrollWidth : 0;
    return {
      width: first ? Math.max(right(last) - left(first), beyond) : 0,
      size: parseFloat(getComputedStyle(formula).fontSize),
    };
  }

  function fit() {
    closeUp();
    const boxes = [...document.querySelectorAll(".bd-article div.math")].filter((box) => box.querySelector("math"));
    const formulas = boxes.map((box) => box.querySelector("math"));
    formulas.forEach((formula, i) => {
      formula.style.fontSize = "";
      boxes[i].classList.remove("below");
    });
    const rooms = boxes.map((box) => [box.clientWidth, box.querySelector(".eqno")?.offsetWidth ?? 0]);
    // The widths of letters are whole pixels on some screens: so the first guess may not do.
    for (let round = 0; round < 3; round++) {
      const found = formulas.map(measure);
      found.forEach(({ width, size }, i) => {
        const [room, number] = rooms[i];
        if (room && width > room)
          formulas[i].style.fontSize = `${Math.max(SMALLEST, Math.floor((0.99 * room * size) / width))}px`;
        // The number goes below, where there is no room for both.
        if (round === 0) boxes[i].classList.toggle("below", width + number > room);
      });
    }
    for (const formula of document.querySelectorAll(".bd-article span.math")) formula.classList.remove("too-wide");
    const inText = [...document.querySelectorAll(".bd-article span.math")].filter((formula) => {
      const room = formula.parentElement.getBoundingClientRect();
      return room.width > 0 && right(formula) > room.right + 1;
    });
    for (const formula of inText) formula.classList.add("too-wide");
    for (const box of [...boxes, ...inText]) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  document.addEventListener("copy", (event) => {
    const selection = window.getSelection();
    if (selection.isCollapsed || !event.clipboardData) return;
    const part = document.createElement("div");
    part.append(selection.getRangeAt(0).cloneContents());
    const formulas = part.querySelectorAll("math[data-tex]");
    if (!formulas.length) return;
    for (const formula of formulas) {
      const mark = formula.getAttribute("display") === "block" ? "$$" : "$";
      formula.replaceWith(`${mark}${formula.dataset.tex}${mark}`);
    }
    event.clipboardData.setData("text/plain", part.textContent);
    event.preventDefault();
  });

  async function start() {
    fit();
    await document.fonts.ready;
    fit();
    document.documentElement.dataset.equations = "fitted";
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (window.innerWidth !== width) fit();
      width = window.innerWidth;
    });
    // A folded solution has no width until it is opened.
    document.addEventListener("click", (event) => {
      if (event.target.closest(".toggle-button, .admonition-title, summary")) requestAnimationFrame(fit);
    });
  }
  // Figures come first: formulas can be read as they are.
  const later = () => (window.requestIdleCallback ?? setTimeout)(start, { timeout: 1000 });
  if (document.readyState === "complete") later();
  else window.addEventListener("load", later);
})();
