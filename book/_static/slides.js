/* Turns the slides of a chapter: by keys, buttons and swipes; the address carries the number. Without this script, and
   on a narrow screen, they stand below each other. */
(function () {
  "use strict";

  const root = document.documentElement;
  const slides = [...document.querySelectorAll(".slide")];
  const wide = matchMedia("(min-width: 700px)");
  const SMALLEST = 0.62; // of the size of the text; then a slide is too full, which a test finds
  const WIDTHS = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.42];
  const SCALES = [1, 0.9, 0.8, 0.7, 0.6, 0.5]; // of a figure that is too tall at every width
  let at = 0;

  const make = (name, attributes, ...children) => {
    const element = Object.assign(document.createElement(name), attributes);
    element.append(...children);
    return element;
  };
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const tooFull = (body) => body.scrollHeight > body.clientHeight + 1 || body.scrollWidth > body.clientWidth + 1;

  /** The widest at the largest scale. Narrower, a figure may put its parts below each other, and grow. */
  async function fitFigure(figure, height) {
    for (const scale of SCALES) {
      figure.style.setProperty("--scale", scale);
      for (const width of WIDTHS) {
        figure.style.setProperty("--width", width);
        await frame();
        if (figure.scrollHeight <= height) return;
      }
    }
  }

  /** Text smaller, and figures narrower, until all of a slide is on it. */
  async function fit(slide) {
    const body = slide.querySelector(".slide-body");
    const [text, figure] = ["text", "figure"].map((part) => body.querySelector(`.slide-${part}`));
    const height = () => body.clientHeight + 1;
    body.style.removeProperty("--fit");
    body.style.removeProperty("--width");
    if (figure) await fitFigure(figure, height());
    const full = () => (text ? text.scrollHeight > height() || text.scrollWidth > text.clientWidth + 1 : tooFull(body));
    for (let size = 1; size >= SMALLEST && full(); size -= 0.04) body.style.setProperty("--fit", size.toFixed(2));
    slide.dataset.fit = tooFull(body) ? "too full" : "fits";
  }

  function show(index, { focus = true } = {}) {
    at = Math.max(0, Math.min(slides.length - 1, index));
    slides.forEach((slide, i) => {
      slide.classList.toggle("shown", i === at);
      slide.inert = root.classList.contains("deck") && i !== at;
    });
    history.replaceState(null, "", `#${at + 1}`);
    word.textContent = `Slide ${at + 1} of ${slides.length}: ${slides[at].querySelector("h2").textContent}`;
    if (focus) slides[at].focus({ preventScroll: true });
    ready.then(() => slides[at].dataset.fit ?? fit(slides[at]));
  }

  const word = make("p", { role: "status", style: "position:absolute;left:-99rem" });
  const list = make("dialog", { className: "slide-list" });
  const links = slides.map((slide, i) => {
    const link = make("a", { href: `#${i + 1}` }, `${i + 1}. ${slide.querySelector("h2").textContent}`);
    link.addEventListener("click", () => list.close());
    return link;
  });
  list.append(...links);
  const button = (text, label, action) => {
    const element = make("button", { type: "button", ariaLabel: label, title: label }, text);
    element.addEventListener("click", action);
    return element;
  };
  const keys = make(
    "nav",
    { className: "slide-keys", ariaLabel: "Slides" },
    button("‹", "Previous slide", () => show(at - 1)),
    button("≡", "All slides", () => list.showModal()),
    button("›", "Next slide", () => show(at + 1)),
  );

  const actions = {
    ArrowRight: () => show(at + 1),
    ArrowDown: () => show(at + 1),
    PageDown: () => show(at + 1),
    ArrowLeft: () => show(at - 1),
    ArrowUp: () => show(at - 1),
    PageUp: () => show(at - 1),
    Home: () => show(0),
    End: () => show(slides.length - 1),
    " ": (event) => show(at + (event.shiftKey ? -1 : 1)),
    o: () => list.showModal(),
    f: () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen()),
    d: () => {
      root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    },
    n: () => root.classList.toggle("notes"),
  };

  // Within a figure keys are the figure's, but for those that turn pages.
  document.addEventListener(
    "keydown",
    (event) => {
      const turns = event.key === "PageDown" || event.key === "PageUp";
      const taken = event.target.closest?.("figure, input, select, button, dialog");
      if (!root.classList.contains("deck") || event.ctrlKey || event.metaKey || event.altKey) return;
      if (list.open || (taken && !turns)) return;
      const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!action) return;
      event.preventDefault();
      action(event);
    },
    true,
  );

  let from;
  document.addEventListener("pointerdown", (event) => {
    from = event.pointerType === "touch" && !event.target.closest("figure, button, dialog") ? event : null;
  });
  document.addEventListener("pointerup", (event) => {
    const along = from ? event.clientX - from.clientX : 0;
    if (Math.abs(along) > 60 && Math.abs(along) > 2 * Math.abs(event.clientY - from.clientY))
      show(at - Math.sign(along));
    from = null;
  });

  const asked = () => Number(location.hash.slice(1)) - 1 || 0;
  addEventListener("hashchange", () => show(asked()));

  function arrange() {
    root.classList.toggle("deck", wide.matches);
    for (const slide of slides) delete slide.dataset.fit;
    show(asked(), { focus: false });
  }
  for (const slide of slides) slide.tabIndex = -1;
  document.body.append(word, keys, list);
  const drawn = () => !document.querySelector("[data-figure=loading]");
  const ready = (async () => {
    await document.fonts.ready;
    for (let k = 0; k < 100 && !drawn(); k++) await frame();
    await frame();
  })();
  arrange();
  wide.addEventListener("change", arrange);
  // For who measures them: how each slide fits.
  window.slides = {
    fitAll: async () => {
      await ready;
      for (const slide of slides) if (!slide.dataset.fit) await fit(slide);
      return slides.map((slide) => slide.dataset.fit);
    },
  };
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) arrange();
    width = innerWidth;
  });
})();
