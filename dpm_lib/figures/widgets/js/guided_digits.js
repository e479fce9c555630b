// Digits of a class at each strength of guidance, precomputed, beside a classifier's agreement and the spread that is left.

import { controls, html, keys, numbers, openFigure, renew, title } from "./common.js";
import { evenly, fixed, line, openPlot, scales, text } from "./plot.js";
import { live } from "./view.js";

const COLUMNS = 4;
const MARGINS = { left: 36, right: 12, top: 10, bottom: 34, foot: 18 };
const CURVES = { agreement: "data", spread: "model" };

/** Where in the bytes the digits of one w and class begin, by the shape [w, class, n, side, side]. */
export const placeOf = ([, classes, n, side], at, digit) => (at * classes + digit) * n * side * side;

/** n square pictures in rows of `columns`, one dark pixel between: { width, height, grey } with grey row by row. */
export function tiles(bytes, start, n, side, columns = COLUMNS) {
  const width = columns * (side + 1) - 1;
  const height = Math.ceil(n / columns) * (side + 1) - 1;
  const grey = new Uint8ClampedArray(width * height);
  for (let k = 0; k < n; k++) {
    const [row, column] = [Math.floor(k / columns) * (side + 1), (k % columns) * (side + 1)];
    for (let i = 0; i < side; i++) {
      for (let j = 0; j < side; j++) grey[(row + i) * width + column + j] = bytes[start + (k * side + i) * side + j];
    }
  }
  return { width, height, grey };
}

function render({ model, el }) {
  const figure = openFigure(model, el, "guided");
  const { root } = figure;
  const bytes = numbers(model.get("pictures"), Uint8Array);
  const shape = model.get("shape");
  const rows = model.get("rows");
  const [, classes, n, side] = shape;
  let at = rows.findIndex((row) => row.w === model.get("w"));
  let digit = model.get("digit");

  const sheet = figure.canvas(`${n} digits drawn for the class chosen, from the same noise at each w`);
  sheet.style.aspectRatio = `${COLUMNS} / ${Math.ceil(n / COLUMNS)}`;
  const chart = openPlot(figure, "dpm-gains", "Agreement and spread against w, with a cursor at the w shown");
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const small = document.createElement("canvas");

  function drawSheet() {
    const { width, height, grey } = tiles(bytes, placeOf(shape, at, digit), n, side);
    Object.assign(small, { width, height });
    const image = small.getContext("2d").createImageData(width, height);
    grey.forEach((v, i) => image.data.set([v, v, v, 255], 4 * i));
    small.getContext("2d").putImageData(image, 0, 0);
    const context = sheet.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, sheet.width, sheet.height);
  }
  function drawChart() {
    const last = rows.at(-1).w;
    const highest = Math.max(1, ...rows.map(({ spread }) => spread.mean + 2 * spread.stderr));
    const plot = scales(chart, MARGINS, [0, last], [0, highest]);
    renew(
      chart,
      ...plot.rows(
        evenly(0, 5, 10).filter((v) => v <= highest),
        String,
      ),
      ...plot.marks(evenly(0, last, Math.round(last))),
      text((plot.left + plot.end) / 2, plot.height - 2, "strength of guidance w"),
      plot.upright(rows[at].w, "dpm-cut"),
      ...Object.entries(CURVES).flatMap(([name, ink]) => [
        ...rows.map((row) => {
          const [low, high] = [-2, 2].map((by) => plot.y(row[name].mean + by * row[name].stderr));
          return line(plot.x(row.w), low, plot.x(row.w), high, `dpm-error dpm-ink-${ink}`);
        }),
        plot.curve(`dpm-law dpm-ink-${ink}`, rows, (row) => [row.w, row[name].mean]),
        plot.dot(`dpm-dot dpm-ink-${ink}`, rows[at].w, rows[at][name].mean, 5),
      ]),
    );
  }
  figure.draw = () => {
    if (sheet.width) drawSheet();
    drawChart();
    const { w, agreement, spread, by_class } = rows[at];
    const told = `${fixed(100 * agreement.mean, 1)} % of all samples (of real digits ${fixed(100 * model.get("real"), 1)} %)`;
    detail.textContent =
      `w = ${w}: the classifier agrees with ${told}, and with ${Math.round(by_class[digit] * model.get("each"))} of ` +
      `${model.get("each")} drawn for ${digit}. Spread within a class: ${fixed(spread.mean, 2)} ± ${fixed(spread.stderr, 2)} of real digits’.`;
    Object.assign(root.dataset, { w, digit, agreement: agreement.mean, spread: spread.mean });
  };

  const which = figure.chooser({
    label: "Class",
    options: Array.from({ length: classes }, (_, c) => [String(c), String(c)]),
    value: String(digit),
    set: (v) => (digit = Number(v)),
  });
  const strength = figure.slider({
    wide: true,
    label: "Guidance w",
    min: 0,
    max: rows.length - 1,
    value: at,
    format: (v) => `w = ${rows[v].w}`,
    set: (v) => (at = v),
  });
  figure.add(
    controls(which, strength),
    html(
      "div",
      { class: "dpm-twins" },
      html("div", {}, title("Drawn for the class"), html("div", { class: "dpm-live dpm-tiles" }, sheet)),
      html(
        "div",
        {},
        title("Gained and lost", " (bars: two standard errors)"),
        chart,
        keys({ data: "share that a classifier agrees with", model: "spread within a class, real digits 1" }),
      ),
    ),
    detail,
  );
  return figure.close;
}

export default live(render);
