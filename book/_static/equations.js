/* Displayed equations that are too wide for a small screen are made smaller, down to a size that can still be
   read; what is wider than that scrolls inside itself, by keys too, and so do formulas in the text. */
(function () {
  "use strict";

  const SMALLEST = 12; // pixels

  function fit() {
    const equations = [...document.querySelectorAll('.bd-article mjx-container[display="true"]')];
    for (const equation of equations) {
      equation.dataset.size ??= equation.style.fontSize; // MathJax's own: as large as the formulas in the text
      equation.style.fontSize = equation.dataset.size;
    }
    const sizes = equations.map((equation) => {
      const ratio = equation.clientWidth / equation.scrollWidth;
      return ratio < 1 ? Math.max(SMALLEST, 0.99 * ratio * parseFloat(getComputedStyle(equation).fontSize)) : 0;
    });
    for (const formula of document.querySelectorAll('.bd-article mjx-container:not([display="true"])')) {
      formula.classList.remove("too-wide");
      const room = formula.parentElement.getBoundingClientRect();
      formula.classList.toggle("too-wide", room.width > 0 && formula.getBoundingClientRect().right > room.right + 1);
    }
    equations.forEach((equation, i) => {
      if (sizes[i]) equation.style.fontSize = `${sizes[i]}px`;
    });
    for (const box of document.querySelectorAll('.bd-article :is(mjx-container[display="true"], .too-wide)')) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  // MathJax comes after this script, and its fonts after it.
  window.addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    await document.fonts.ready;
    fit();
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (window.innerWidth !== width) fit();
      width = window.innerWidth;
    });
    // A folded solution has no width until it is opened.
    document.addEventListener("click", (event) => {
      if (event.target.closest(".toggle-button, .admonition-title, summary")) requestAnimationFrame(fit);
    });
  });
})();
