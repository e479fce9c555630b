/* The search page: finds sections, equations, exercises, figures and words in `bookIndex`, the script beside this one.

   Every word of a query must begin a word of the entry. A hit in a title counts most, then one in a name (a label, the
   words of a formula, what the text sets in bold), then one in the text. */
(function () {
  "use strict";

  const WEIGHT = { title: 12, names: 6, text: 1 };
  const WHOLE = 3; // so many times as much where the words stand together
  const FRONT = 30; // for a chapter's own title, or its name
  const SHOWN = 50;

  const plain = (text) =>
    text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/[–−]/g, "-").replace(/[’]/g, "'");

  /** The words of a query: TeX's backslashes and braces only part them. */
  const wordsOf = (query) => plain(query).match(/[\p{L}\p{N}]+(?:[._'-]+[\p{L}\p{N}]+)*/gu) ?? [];
  const begins = (word) => new RegExp(`(?<![\\p{L}\\p{N}])${word.replaceAll(".", "\\.")}`, "u");

  function prepare(index) {
    return index.entries.map(([kind, page, anchor, title, names, text]) => ({
      kind: index.kinds[kind],
      page: index.pages[page][0],
      chapter: index.pages[page][1],
      anchor,
      title,
      text,
      fields: { title: plain(title), names: plain(names), text: plain(text) },
    }));
  }

  /** The points of an entry, 0 where a word is missing. */
  function points(entry, words, tests, phrase) {
    let sum = 0;
    for (const test of tests) {
      let best = 0;
      for (const [field, weight] of Object.entries(WEIGHT)) {
        if (weight > best && test.test(entry.fields[field])) best = weight;
      }
      if (!best) return 0;
      sum += best;
    }
    sum /= tests.length;
    for (const [field, weight] of Object.entries(WEIGHT)) {
      if (phrase.test(entry.fields[field])) {
        sum += WHOLE * weight;
        if (!entry.anchor && field !== "text") sum += FRONT;
        break;
      }
    }
    const isTitle = entry.fields.title === words.join(" ");
    if (isTitle && entry.kind !== "Glossary") sum += FRONT; // a chapter on a thing comes before its definition
    if (entry.fields.names.split(" ").includes(words.join(" "))) sum += WEIGHT.title; // a label, whole
    if (entry.kind === "Figure" || entry.kind === "API") sum /= 2; // long titles, and names of no prose
    return sum + Math.log2(1 + (entry.fields.text.split(words.join(" ")).length - 1));
  }

  /** The entries with all words of the query, best first; equals in the order of the book. */
  function find(entries, query) {
    const words = wordsOf(query);
    if (!words.length) return [];
    const tests = words.map(begins);
    const phrase = begins(words.join(" "));
    return entries
      .map((entry) => [points(entry, words, tests, phrase), entry])
      .filter(([sum]) => sum > 0)
      .sort(([a], [b]) => b - a)
      .map(([, entry]) => entry);
  }

  // --- The page ---

  /** The text around the first word that was asked for, in whole words. */
  function excerpt(entry, tests) {
    const { text } = entry;
    const near = plain(text).length === text.length ? tests.map((test) => plain(text).search(test)) : [];
    const at = Math.max(0, Math.min(...near.filter((place) => place >= 0), Infinity) - 60);
    const start = Number.isFinite(at) && at > 0 ? text.indexOf(" ", at) + 1 : 0;
    const end = text.length > start + 200 ? text.lastIndexOf(" ", start + 200) : text.length;
    return `${start ? "… " : ""}${text.slice(start, end)}${end < text.length ? " …" : ""}`;
  }

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text) made.textContent = text;
    return made;
  }

  function item(entry, tests) {
    const made = element("li");
    const link = element("a", "", entry.anchor ? entry.title : entry.chapter);
    link.href = `${entry.page}.html${entry.anchor ? `#${entry.anchor}` : ""}`;
    made.append(link);
    if (entry.anchor) made.append(element("p", "search-where", `${entry.kind} · ${entry.chapter}`));
    if (entry.text) made.append(element("p", "search-text", excerpt(entry, tests)));
    return made;
  }

  function start() {
    const form = document.querySelector("form.book-search");
    const field = form.querySelector("input");
    const status = document.querySelector(".search-status");
    const list = document.querySelector(".search-hits");
    const links = () => [...list.querySelectorAll("a")];
    let entries;

    function show() {
      const query = field.value.trim();
      list.replaceChildren();
      if (!query) {
        status.textContent = "";
        return;
      }
      const hits = find(entries, query);
      const tests = wordsOf(query).map(begins);
      list.append(...hits.slice(0, SHOWN).map((entry) => item(entry, tests)));
      const count = hits.length === 1 ? "1 result" : `${hits.length} results`;
      const more = hits.length > SHOWN ? `, the first ${SHOWN} of them shown` : "";
      status.textContent = hits.length
        ? `${count}${more}.`
        : `Nothing found for “${query}”. Every word must be there: try fewer words, or the beginning of one.`;
    }

    let waiting;
    field.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(show, 150);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      show();
    });
    document.querySelector("main").addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || !(event.target === field || list.contains(event.target))) return;
      const row = [field, ...links()];
      row[Math.min(Math.max(row.indexOf(event.target) + step, 0), row.length - 1)].focus();
      event.preventDefault();
    });

    field.value = new URLSearchParams(location.search).get("q") ?? "";
    field.focus();
    const read = element("script");
    read.src = new URL("search-index.js", here).href;
    read.addEventListener("load", () => {
      entries = prepare(window.bookIndex);
      show();
    });
    read.addEventListener("error", () => {
      status.textContent = "The index of the book is missing beside this page.";
    });
    status.textContent = "Reading the index …";
    document.head.append(read);
  }

  const here = document.currentScript?.src ?? "";
  window.bookSearch = { prepare, find, excerpt };
  if (document.querySelector("form.book-search")) start();
})();
