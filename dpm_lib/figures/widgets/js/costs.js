// A table of costs that the reader can put in order, and narrow down to one dimension or target.

import { controls, html, openFigure, renew } from "./common.js";
import { live } from "./view.js";

/** Rows in order of `key`; ties keep their order, and rows without a value come last either way. */
export function sorted(rows, key, descending) {
  const sign = descending ? -1 : 1;
  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  return [...rows].sort((left, right) => {
    const [a, b] = [left[key], right[key]];
    if (a == null || b == null) return (a == null) - (b == null);
    return sign * order(a, b);
  });
}

const raised = (power) => [...String(power)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join("");

/** 3.1, 45, 12 000, 3 × 10⁵. */
export function costText(value) {
  if (value < 9.95) return value.toFixed(1);
  if (value < 99_999) return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/, "\u202f");
  let power = Math.floor(Math.log10(value));
  let digit = Math.round(10 ** (Math.log10(value) - power));
  if (digit === 10) [digit, power] = [1, power + 1];
  return `${digit} × 10${raised(power)}`;
}

/** "3.13 ± 0.29": two digits of the standard error, where there is one. */
export function costWithError(value, stderr) {
  if (stderr == null || !(stderr > 0)) return costText(value);
  if (value >= 99_999) return `${costText(value)} ± ${costText(stderr)}`;
  const digits = Math.max(0, 1 - Math.floor(Math.log10(stderr)));
  return [value, stderr].map((v) => v.toFixed(digits).replace(/\B(?=(\d{3})+$)/, "\u202f")).join(" ± ");
}

/** "-0.035 ± 0.015", or a dash. */
export function errorText(error, stderr) {
  if (error == null) return "–";
  const digits = Math.max(0, 1 - Math.floor(Math.log10(stderr)));
  return `${error.toFixed(digits).replace("-", "−")} ± ${stderr.toFixed(digits)}`;
}

const COLUMNS = [
  ["method", "Method"],
  ["target", "Target"],
  ["dimension", "Dim."],
  ["cost", "Evaluations per effective sample"],
  ["error", "Error of the mean"],
];

function render({ model, el }) {
  const figure = openFigure(model, el, "costs");
  const rows = model.get("rows");
  let [key, descending, target, dimension] = ["dimension", false, "all", "all"];

  const heads = COLUMNS.map(([name, words]) => {
    const press = html(
      "button",
      {
        type: "button",
        click: () => {
          descending = key === name && !descending;
          key = name;
          figure.redraw();
        },
      },
      words,
      html("span", { class: "dpm-arrow", "aria-hidden": "true" }),
    );
    return { name, press, cell: html("th", { scope: "col" }, press) };
  });
  const body = html("tbody");
  const status = html("p", { class: "dpm-detail", role: "status" });
  const table = html(
    "table",
    { class: "dpm-table" },
    html("thead", {}, html("tr", {}, ...heads.map((head) => head.cell))),
    body,
  );

  figure.draw = () => {
    const shown = sorted(rows, key, descending)
      .filter((row) => target === "all" || row.target === target)
      .filter((row) => dimension === "all" || row.dimension === Number(dimension));
    for (const { name, press, cell } of heads) {
      cell.setAttribute("aria-sort", name !== key ? "none" : descending ? "descending" : "ascending");
      press.lastChild.textContent = name !== key ? "" : descending ? " ▼" : " ▲";
    }
    renew(
      body,
      ...shown.map((row) => {
        const bad = row.error_stderr && Math.abs(row.error) > 4 * row.error_stderr;
        const about = bad ? "more than four standard errors: biased at this budget" : null;
        return html(
          "tr",
          {},
          html("th", { scope: "row", class: "dpm-word" }, row.method, row.grid ? " (grid)" : ""),
          html("td", { class: "dpm-word" }, row.target),
          html("td", { class: "dpm-number" }, row.dimension),
          html(
            "td",
            { class: "dpm-number" },
            costWithError(row.cost, row.cost_stderr),
            row.measured ? "" : " (expected)",
          ),
          html(
            "td",
            { class: bad ? "dpm-number dpm-bad" : "dpm-number", title: about },
            errorText(row.error, row.error_stderr),
            bad ? " !" : "",
          ),
        );
      }),
    );
    const words = key === "dimension" ? key : COLUMNS.find(([name]) => name === key)[1].toLowerCase();
    status.textContent = `${shown.length} rows, by ${words}, ${descending ? "largest" : "smallest"} first.`;
    figure.root.dataset.key = key;
  };

  const names = (field) => [...new Set(rows.map((row) => row[field]))].map((name) => [String(name), String(name)]);
  const targets = figure.chooser({
    label: "Target",
    options: [["all", "all"], ...names("target")],
    value: "all",
    set: (value) => (target = value),
  });
  const dimensions = figure.chooser({
    label: "Dimension",
    options: [["all", "all"], ...names("dimension")],
    value: "all",
    set: (value) => (dimension = value),
  });
  figure.add(
    controls(targets, dimensions),
    html(
      "div",
      { class: "dpm-scroll", tabindex: 0, role: "region", "aria-label": "Table of costs, scrollable" },
      table,
    ),
    status,
  );
  figure.redraw();
  figure.onChange("rows", figure.redraw);
  return figure.close;
}

export default live(render);
