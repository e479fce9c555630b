// This library beside others: a ratio of costs or of errors, with its interval, on one axis; left of 1 is ours.

import { controls, html, keys, openFigure, renew, svg } from "./common.js";
import { fixed, line, openPlot, power, scales, short } from "./plot.js";
import { live } from "./view.js";

/** Ours better (its whole interval left of 1), worse, or neither. */
export const verdict = ({ low, high }) => (high < 1 ? "better" : low > 1 ? "worse" : "even");

/** Powers of ten around all intervals, at least from a third to three. */
export function axis(rows) {
  const low = Math.floor(Math.log10(Math.min(1 / 3, ...rows.map((row) => row.low))));
  const high = Math.ceil(Math.log10(Math.max(3, ...rows.map((row) => row.high))));
  return { ends: [10 ** low, 10 ** high], ticks: Array.from({ length: high - low + 1 }, (_, i) => low + i) };
}

/** 0.94, and 1/42 for what is below a tenth. */
export const told = (v) => (v < 0.1 ? `1/${short(1 / v)}` : v < 10 ? fixed(v, 2) : short(v));

/** "0.94 (0.85 to 1.04) of their error" */
export const inWords = ({ ratio, low, high, what }) =>
  `${told(ratio)} (${told(low)} to ${told(high)}) of their ${what}`;

const INKS = { better: "data", worse: "model", even: "muted" };
const MARGINS = { left: 8, right: 8, top: 0, bottom: 0, foot: 4 };

function render({ model, el }) {
  const figure = openFigure(model, el, "beside");
  const { root } = figure;
  const rows = model.get("rows");
  const topics = [...new Set(rows.map((row) => row.topic))];
  let topic = "all";
  let chosen = 0;

  const list = html("ul", { class: "dpm-beside-rows" });
  const scale = openPlot(figure, "dpm-beside-ticks", "Ratios, on a logarithmic axis");
  const detail = html("p", { class: "dpm-detail dpm-now", role: "status" });
  const buttons = rows.map((row, i) => {
    const whisker = svg("svg", { class: "dpm-plot", "aria-hidden": "true" });
    figure.onResize(whisker);
    const press = html(
      "button",
      {
        type: "button",
        click: () => {
          chosen = i;
          figure.redraw();
        },
      },
      html("span", {}, row.name),
      html("span", { class: "dpm-number" }, told(row.ratio)),
      whisker,
    );
    return { row, press, whisker, node: html("li", {}, press) };
  });

  figure.draw = () => {
    const shown = buttons.filter(({ row }) => topic === "all" || row.topic === topic);
    const { ends, ticks } = axis(shown.map(({ row }) => row));
    if (!shown.some(({ row }) => row === rows[chosen])) chosen = rows.indexOf(shown[0].row);
    renew(list, ...shown.map(({ node }) => node));
    for (const { row, press, whisker } of shown) {
      press.setAttribute("aria-pressed", row === rows[chosen]);
      const plot = scales(whisker, MARGINS, ends, [0, 1], { log: "x" });
      const y = plot.height / 2;
      renew(
        whisker,
        ...ticks.map((k) => line(plot.x(10 ** k), 0, plot.x(10 ** k), plot.height, k === 0 ? "dpm-even" : "dpm-grid")),
        line(plot.x(row.low), y, plot.x(row.high), y, `dpm-span dpm-ink-${INKS[verdict(row)]}`),
        svg("circle", { class: `dpm-middle dpm-ink-${INKS[verdict(row)]}`, cx: plot.x(row.ratio), cy: y, r: 5 }),
      );
    }
    const plot = scales(scale, MARGINS, ends, [0, 1], { log: "x" });
    renew(
      scale,
      ...plot.marks(
        ticks.map((k) => 10 ** k),
        (v) => power(Math.round(Math.log10(v))),
        (v) => (v === ends[0] ? "start" : v === ends[1] ? "end" : "middle"),
      ),
    );
    const { name, words } = rows[chosen];
    const numbers = inWords(rows[chosen]);
    const count = (kind) => shown.filter(({ row }) => verdict(row) === kind).length;
    detail.textContent =
      `${shown.length} comparisons: ours is better in ${count("better")}, worse in ${count("worse")}, ` +
      `and ${count("even")} do not tell. ${name}: ${numbers}. ${words}`;
    Object.assign(root.dataset, { topic, chosen, shown: shown.length });
  };

  const which = figure.chooser({
    label: "Of",
    options: [["all", "everything"], ...topics.map((name) => [name, name])],
    value: topic,
    set: (value) => (topic = value),
  });
  figure.keep(
    "row",
    () => chosen,
    (value) => {
      chosen = Math.min(rows.length - 1, Math.max(0, Math.round(value)));
    },
  );
  figure.add(
    controls(which),
    keys({ data: "ours costs or errs less", model: "ours costs or errs more", muted: "the interval holds 1" }),
    list,
    html("div", { class: "dpm-beside-scale" }, html("span", {}, "ours / theirs"), html("span"), scale),
    detail,
  );
  figure.redraw();
  return figure.close;
}

export default live(render);
