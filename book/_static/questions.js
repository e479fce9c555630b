/* Numeric questions: the page takes an answer, and says whether it is within the tolerance; a hint after a miss.
   Without this script a question has its hint and its answer folded below it. */
(function () {
  "use strict";

  /** The number that a reader wrote: 0.001, 1e-3, 2/3, 0,5; null for what is no number. */
  function parse(text, unit) {
    let plain = text.trim();
    if (unit && plain.endsWith(unit)) plain = plain.slice(0, -unit.length);
    plain = plain.replace(/\s+/g, "").replace(/[\u2212\u2013]/g, "-");
    if (!plain.includes(".")) plain = plain.replaceAll(",", ".");
    const one = "([+-]?(?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][+-]?\\d+)?)";
    const found = new RegExp(`^${one}(?:/${one})?$`).exec(plain);
    const value = found ? Number(found[1]) / Number(found[2] ?? 1) : Number.NaN;
    return Number.isFinite(value) ? value : null;
  }

  /** The 32-bit FNV-1a hash of ASCII. */
  function fnv(text) {
    let value = 0x811c9dc5;
    for (const letter of text) value = Math.imul(value ^ letter.charCodeAt(0), 0x01000193) >>> 0;
    return value;
  }

  /** Is a value in the interval that a seal means? (tools/without_solutions.py) `edge` is what its ends may be missed by. */
  function opens(sealed, value, edge) {
    const [salt, low, width, hash] = sealed.split(" ");
    const number = (x) => Math.floor((x - Number(low)) / Number(width));
    return [-edge, 0, edge].some((shift) => fnv(`${salt} ${number(value + shift)}`) === Number(hash));
  }

  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function open(question, index) {
    const { answer, sealed, within, unit } = question.dataset;
    const text = question.querySelector("p");
    const hint = question.querySelector(".question-hint");
    text.id ||= `question-text-${index + 1}`;
    const field = make("input", {
      id: `question-field-${index + 1}`,
      type: "text",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      "aria-describedby": text.id,
    });
    const label = make("label", { for: field.id }, `Your answer, to within ${within}`);
    const verdict = make("p", { class: "question-verdict", role: "status", "aria-live": "polite" });
    const row = [label, field, ...(unit ? [make("span", {}, unit)] : []), make("button", { type: "submit" }, "Check")];
    const form = make("form", { class: "question-form", novalidate: "" }, ...row);
    const say = (state, words) => {
      question.dataset.state = state;
      field.setAttribute("aria-invalid", String(state !== "right"));
      verdict.textContent = words;
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const value = parse(field.value, unit);
      if (value === null) {
        say("unread", `${field.value.trim() ? "This is not a number" : "No number yet"}: write 0.25, 1e-3 or 2/3.`);
        return;
      }
      const edge = 1e-9 * Math.max(Math.abs(value), Number(within)); // of numbers such as 0.1 + 0.2
      const right = sealed ? opens(sealed, value, edge) : Math.abs(value - Number(answer)) <= Number(within) + edge;
      if (right) {
        say("right", `Right: ${value} is within ${within} of the answer.`);
        return;
      }
      if (hint) hint.hidden = false;
      say("wrong", `Not yet: ${value} is more than ${within} from the answer.${hint ? " There is a hint." : ""}`);
    });
    if (hint) hint.hidden = true;
    text.after(form, verdict);
    question.dataset.state = "open";
  }

  window.bookQuestions = { parse, opens };
  const start = () => document.querySelectorAll(".question").forEach(open);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
