/* The table of all exercises: choosers above it leave only those of a level or a tool, and sort. Without this script
   the table is whole, in the order of the book. */
(function () {
  "use strict";

  const COLUMN = { level: 2, minutes: 3, tools: 4 };
  const CHOICES = [
    ["level", "Level", ["all", "Easy", "Medium", "Hard"]],
    ["tools", "With", ["all", "pen", "code", "pen and code"]],
    ["order", "Order", ["of the book", "shortest first", "longest first"]],
  ];

  function open(table) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const say = (row, name) => row.cells[COLUMN[name]].textContent.trim();
    const form = document.createElement("form");
    form.className = "exercise-choices";
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const [name, words, options] of CHOICES) {
      const label = document.createElement("label");
      const select = document.createElement("select");
      select.name = name;
      select.append(...options.map((text) => new Option(text, text)));
      label.append(`${words} `, select);
      form.append(label);
    }
    const count = document.createElement("p");
    count.setAttribute("role", "status");
    const choose = () => {
      const { level, tools, order } = Object.fromEntries(new FormData(form));
      const sign = { "shortest first": 1, "longest first": -1 }[order] ?? 0;
      const sorted = rows.toSorted((a, b) => sign * (say(a, "minutes") - say(b, "minutes")));
      let minutes = 0;
      let shown = 0;
      for (const row of sorted) {
        row.hidden =
          (level !== "all" && say(row, "level") !== level) || (tools !== "all" && say(row, "tools") !== tools);
        if (row.hidden) continue;
        shown += 1;
        minutes += Number(say(row, "minutes"));
      }
      body.append(...sorted);
      count.textContent = `${shown} exercises, about ${Math.round(minutes / 60)} hours.`;
    };
    form.addEventListener("change", choose);
    form.append(count);
    table.before(form);
    table.classList.add("has-choices");
    choose();
  }

  const start = () => document.querySelectorAll("table.exercise-list").forEach(open);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
