// The weights of importance sampling as areas, and how many draws they are worth as the dimension grows.

import { button, clamp, fillNormals, html, openFigure, renew, title, uniforms } from "./common.js";
import { circle, evenly, openPlot, scales, text } from "./plot.js";
import { weigh } from "./probability.js";
import { live } from "./view.js";

/** Log weights N(x; 0, 1) / N(x; mean, width^2) of n draws x = mean + width z in d dimensions; z is flat, n * d. */
export function logWeights(z, d, mean, width) {
  const result = new Float64Array(z.length / d);
  for (let i = 0; i < z.length; i++) {
    const x = mean + width * z[i];
    result[Math.floor(i / d)] += 0.5 * (z[i] * z[i] - x * x) + Math.log(width);
  }
  return result;
}

/** The limit of the effective share: [width^2 / sqrt(2 width^2 - 1) exp(mean^2 / (2 width^2 - 1))]^-d, or 0. */
export function effectiveShare(d, mean, width) {
  const gap = 2 * width * width - 1;
  if (gap <= 0) return 0;
  return Math.exp(-d * (2 * Math.log(width) - 0.5 * Math.log(gap) + (mean * mean) / gap));
}

const MEAN = { min: -2, max: 2, step: 0.1 };
const WIDTH = { min: 0.5, max: 2.5, step: 0.05 };

/** The nearest value that a slider can take. */
const snapped = (value, { min, max, step }) => clamp(Number((step * Math.round(value / step)).toFixed(9)), min, max);

/** The proposal after its top, or its flank one width to the right, was dragged by `by` from { mean, width }. */
export const dragged = (part, { mean, width }, by) =>
  part === "flank" ? { mean, width: snapped(width + by, WIDTH) } : { mean: snapped(mean + by, MEAN), width };

const DIMENSIONS = [1, 2, 3, 5, 7, 10, 14, 20, 30, 50];
const N = 1000;
const DOTS = 120;
const REACH = 5;
const GRIP = 28; // pixels around the flank's handle that take hold of it; elsewhere one holds the top

function render({ model, el }) {
  const figure = openFigure(model, el, "importance");
  const { root } = figure;
  let [mean, width, d, seed] = [model.get("mean"), model.get("width"), 1, 1];
  let z;

  const redrawNoise = () => {
    z = fillNormals(new Float64Array(N * DIMENSIONS.at(-1)), uniforms(seed));
    figure.redraw();
  };
  const dots = openPlot(figure, "dpm-dragged");
  const decay = openPlot(figure, "");
  const detail = html("p", { class: "dpm-detail" });

  const bell = (x, m, s) => Math.exp(-0.5 * ((x - m) / s) ** 2) / s;

  function place() {
    const tall = Math.max(1, 1 / width);
    const plot = scales(dots, { left: 0, right: 0, top: 10, bottom: 44 }, [-REACH, REACH], [0, tall]);
    return { ...plot, flank: plot.place([mean + width, bell(width, 0, width)]) };
  }
  function drawDots(weights) {
    const plot = place();
    const curve = (kind, m, s) => plot.curve(`dpm-line ${kind}`, evenly(-REACH, REACH, 160), (x) => [x, bell(x, m, s)]);
    const circles = Array.from({ length: DOTS }, (_, i) => {
      const radius = Math.min(26, 4 * Math.sqrt(N * weights[i]));
      return circle("dpm-weight", plot.x(mean + width * z[i * d]), plot.floor + 12, radius.toFixed(2));
    });
    const top = plot.place([mean, bell(mean, mean, width)]);
    renew(
      dots,
      plot.axis(),
      curve("dpm-target", 0, 1),
      curve("dpm-proposal", mean, width),
      ...circles,
      ...[top, plot.flank].map(([x, y]) => circle("dpm-grip", x, y, 7)),
      ...plot.marks([-4, -2, 0, 2, 4], String),
    );
  }
  function drawDecay(measured) {
    const last = DIMENSIONS.at(-1);
    const margins = { left: 46, right: 12, top: 8, bottom: 22, gap: 6, foot: 5 };
    const plot = scales(decay, margins, [0, last], [1e-4, 1], { log: "y" });
    const y = (share) => Math.max(share, 1e-4);
    const formula = evenly(0, last, 100)
      .map((k) => [k, effectiveShare(k, mean, width)])
      .filter(([, share]) => share > 1e-4); // below, the line leaves the plot
    renew(
      decay,
      ...plot.rows([1, 0.1, 0.01, 0.001], String),
      text(plot.end - 2, plot.y(1 / N) - 4, "one draw: no estimate can be lower", "end"),
      plot.axis(),
      plot.curve("dpm-line dpm-target", formula),
      ...DIMENSIONS.map((k, i) => {
        const kind = k === d ? "dpm-measured dpm-chosen" : "dpm-measured";
        return plot.dot(kind, k, y(measured[i]), k === d ? 6 : 4);
      }),
      ...plot.marks([1, 10, 20, 30, 50], (k) => (k === 1 ? "d = 1" : k)),
    );
  }

  figure.draw = () => {
    const all = DIMENSIONS.map((k) => weigh(logWeights(z.subarray(0, N * k), k, mean, width)));
    const measured = all.map(({ size }) => size / N);
    const at = DIMENSIONS.indexOf(d);
    drawDots(all[at].shares);
    drawDecay(measured);
    const formula = effectiveShare(d, mean, width);
    const words = formula
      ? `Formula: ${Number((N * formula).toPrecision(3))}.`
      : "Formula: 0, since the weights have infinite variance.";
    detail.textContent = `d = ${d}: ${N} draws are worth ${(N * measured[at]).toFixed(1)}. ${words}`;
    for (const plot of [dots, decay]) plot.setAttribute("aria-label", detail.textContent);
    root.dataset.ess = N * measured[at];
  };

  const means = figure.slider({
    label: "Proposal mean",
    ...MEAN,
    value: mean,
    format: (v) => v.toFixed(1),
    set: (v) => (mean = v),
  });
  const widths = figure.slider({
    label: "Proposal width",
    ...WIDTH,
    value: width,
    format: (v) => v.toFixed(2),
    set: (v) => (width = v),
  });
  const controls = [
    means,
    widths,
    figure.slider({
      label: "Dimension",
      min: 0,
      max: DIMENSIONS.length - 1,
      value: 0,
      format: (i) => String(DIMENSIONS[i]),
      set: (i) => (d = DIMENSIONS[i]),
    }),
  ];
  let held = null; // what the pointer took hold of, where, and the proposal at that moment
  dots.addEventListener("pointerdown", (event) => {
    const box = dots.getBoundingClientRect();
    const [x, y] = place().flank;
    const near = Math.hypot(event.clientX - box.left - x, event.clientY - box.top - y) < GRIP;
    held = { part: near ? "flank" : "top", from: event.clientX, start: { mean, width } };
    dots.setPointerCapture(event.pointerId);
  });
  dots.addEventListener("pointermove", (event) => {
    if (!held || !dots.hasPointerCapture(event.pointerId)) return;
    ({ mean, width } = dragged(
      held.part,
      held.start,
      ((event.clientX - held.from) * 2 * REACH) / (dots.clientWidth || 600),
    ));
    means.set(mean);
    widths.set(width);
    figure.redraw();
  });

  figure.add(
    title("Target and proposal", " first coordinate; the area of a dot is its weight"),
    dots,
    title("Effective share of the draws", " against the dimension: dots measured, line the formula"),
    decay,
    html(
      "div",
      { class: "dpm-controls" },
      ...controls.map((control) => control.node),
      button("New draws", () => (seed += 1), redrawNoise),
    ),
    detail,
  );
  redrawNoise();
  return figure.close;
}

export default live(render);
