// Shows the definition of a word of the glossary, which stands hidden at the end of the page: to the pointer, to the
// keyboard's focus, and to a finger, whose second touch follows the link. Without this script the link leads there.
(() => {
  const WAIT = 200;
  let shown = null; // the box, while it is there
  let word = null; // the link that it belongs to
  let timer = 0;

  const hide = () => {
    clearTimeout(timer);
    shown?.remove();
    shown = word = null;
  };

  const show = (link) => {
    if (word === link) return clearTimeout(timer);
    hide();
    const said = document.getElementById(link.getAttribute("aria-describedby"));
    if (!said) return;
    word = link;
    shown = document.createElement("div");
    shown.className = "glossary-shown";
    shown.setAttribute("aria-hidden", "true"); // a screen reader has it from the link
    shown.append(...[...said.childNodes].map((node) => node.cloneNode(true)));
    shown.addEventListener("pointerenter", () => clearTimeout(timer));
    shown.addEventListener("pointerleave", later);
    document.body.append(shown);
    const at = link.getClientRects()[0];
    const size = shown.getBoundingClientRect();
    const left = Math.max(8, Math.min(at.left, document.documentElement.clientWidth - size.width - 8));
    const fits = at.bottom + 6 + size.height <= innerHeight || at.top < size.height + 6;
    const top = fits ? at.bottom + 4 : at.top - size.height - 4;
    shown.style.left = `${left + scrollX}px`;
    shown.style.top = `${top + scrollY}px`;
  };

  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(hide, WAIT);
  };

  const wordOf = (event) => (event.target.closest ? event.target.closest(".glossary-word") : null);

  document.addEventListener("pointerover", (event) => {
    const link = wordOf(event);
    if (!link || event.pointerType === "touch") return;
    clearTimeout(timer);
    timer = setTimeout(show, word === link ? 0 : WAIT, link);
  });
  document.addEventListener("pointerout", (event) => {
    if (wordOf(event) && event.pointerType !== "touch") later();
  });
  document.addEventListener("focusin", (event) => {
    const link = wordOf(event);
    if (link?.matches(":focus-visible")) show(link);
    else if (!link) hide();
  });
  document.addEventListener("focusout", (event) => {
    if (wordOf(event)) later();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  document.addEventListener("click", (event) => {
    const link = wordOf(event);
    if (event.pointerType === "touch" && link && word !== link) {
      event.preventDefault();
      show(link);
    } else if (!link && !shown?.contains(event.target)) hide();
  });
})();
