// What each figure does besides: it can be put back as it was, and a link can hold what the reader has set.

import { button, figureIn, html } from "./common.js";

/** The settings of a figure, as texts by name. */
function settingsOf(figure) {
  const found = new Map();
  for (const { key, read } of figure.kept) {
    const value = read();
    if (value !== null) found.set(key, value);
  }
  return found;
}

/** The query of an address that shows this view: the name of the figure, and what differs from `first`, how it began. */
function queryOf(figure, first) {
  const now = settingsOf(figure);
  const differs = (key) => now.get(key) !== first.get(key);
  const chosen = figure.kept.some(({ key, rank }) => rank < 2 && differs(key)); // may have moved all else
  const query = new URLSearchParams({ view: figure.name });
  for (const [key, value] of now) if (chosen || differs(key)) query.set(key, value);
  return query;
}

/** Sets a figure as a query says; what it does not know, or cannot be, it leaves as it is. */
function setView(figure, query) {
  const asked = figure.kept.filter(({ key }) => query.has(key)).sort((a, b) => a.rank - b.rank);
  const sliders = asked.filter(({ rank }) => rank === 2); // twice: one may set the range of another
  for (const { key, write } of [...asked, ...sliders]) {
    try {
      write(query.get(key));
    } catch (error) {
      console.warn(`figures: ${figure.name} cannot be set to ${key} = ${query.get(key)}`, error);
    }
  }
  for (const { key, after } of asked) after?.(query.get(key));
  figure.redraw();
}

/** Puts the figure on the screen, and again when its page has its full height. */
function scrollTo(root) {
  const scroll = () => root.isConnected && root.scrollIntoView({ block: "start" });
  scroll();
  if (document.readyState !== "complete") addEventListener("load", () => requestAnimationFrame(scroll), { once: true });
}

/** A figure's `render`, with a row below it: to put it back, and, in the built book, to copy a link to what it shows. */
export function live(render) {
  return {
    render({ model, el }) {
      let close;
      let first;
      const open = () => {
        close = render({ model, el });
        const figure = figureIn.get(el);
        first = settingsOf(figure);
        const told = html("span", { role: "status" });
        const back = button("Reset", () => {
          close();
          open().back.focus();
        });
        const foot = html("div", { class: "dpm-foot" }, back);
        if (document.documentElement.classList.contains("figures")) foot.append(button("Copy link to this view", copy));
        foot.append(told);
        figure.root.append(foot);
        el.dispatchEvent(new CustomEvent("figure-opened", { bubbles: true }));

        async function copy() {
          const link = new URL(location.href);
          link.search = queryOf(figure, first);
          link.hash = "";
          const copied = await navigator.clipboard?.writeText(link.href).then(
            () => true,
            () => false,
          );
          const field = html("input", { readonly: true, value: link.href, "aria-label": "Link to this view" });
          told.replaceChildren(...(copied ? ["The link is copied."] : ["Copy this: ", field]));
          if (!copied) field.select();
        }
        return { figure, back };
      };
      const { figure } = open();
      const query = new URLSearchParams(location.search);
      if (query.get("view") === figure.name) {
        setView(figure, query);
        scrollTo(figure.root);
      }
      return () => close();
    },
  };
}
