// The weights of importance sampling as areas, and how many draws they are worth as the dimension grows.

import { button, clamp, fillNormals, html, openFigure, svg, title, uniforms } from "./common.js";

/** Log weights N(x; 0, 1) / N(x; mean, width^2) of n draws x = mean + width z in d dimensions; z is flat, n * d. */
export function logWeights(z, d, mean, width) {
  const result = new Float64Array(z.length / d);
  for (let i = 0; i < z.length; i++) {
    const x = mean + width * z[i];
    result[Math.floor(i / d)] += 0.5 * (z[i] * z[i] - x * x) + Math.log(width);
  }
  return result;
}

/** w_i / sum_j w_j. */
export function normalised(logW) {
  const highest = logW.reduce((a, b) => Math.max(a, b));
  const w = logW.map((value) => Math.exp(value - highest));
  const total = w.reduce((a, b) => a + b, 0);
  return w.map((value) => value / total);
}

/** (sum w)^2 / sum w^2. */
export const effectiveSize = (logW) => 1 / normalised(logW).reduce((sum, w) => sum + w * w, 0);

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
  const dots = svg("svg", { class: "dpm-plot dpm-dragged", role: "img" });
  const decay = svg("svg", { class: "dpm-plot", role: "img" });
  const detail = html("p", { class: "dpm-detail" });

  const line = (x1, y1, x2, y2, kind) => svg("line", { x1, y1, x2, y2, class: kind });
  const text = (x, y, words, anchor = "middle") => svg("text", { x, y, "text-anchor": anchor }, words);
  const bell = (x, m, s) => Math.exp(-0.5 * ((x - m) / s) ** 2) / s;

  function scales() {
    const wide = dots.clientWidth || 600;
    const high = dots.clientHeight || 168;
    const floor = high - 44;
    const tall = Math.max(1, 1 / width);
    const xOf = (x) => (wide * (x + REACH)) / (2 * REACH);
    const yOf = (value) => floor - (floor - 10) * (value / tall);
    return { wide, high, floor, xOf, yOf, flank: [xOf(mean + width), yOf(bell(width, 0, width))] };
  }
  function drawDots(weights) {
    const { wide, high, floor, xOf, yOf, flank } = scales();
    const curve = (m, s, kind) => {
      const points = Array.from({ length: 161 }, (_, i) => -REACH + (i * REACH) / 80);
      return svg("polyline", {
        class: `dpm-line ${kind}`,
        points: points.map((x) => `${xOf(x)},${yOf(bell(x, m, s))}`).join(" "),
      });
    };
    const circles = Array.from({ length: DOTS }, (_, i) => {
      const radius = Math.min(26, 4 * Math.sqrt(N * weights[i]));
      return svg("circle", {
        class: "dpm-weight",
        cx: xOf(mean + width * z[i * d]),
        cy: floor + 12,
        r: radius.toFixed(2),
      });
    });
    dots.replaceChildren(
      line(0, floor, wide, floor, "dpm-axis"),
      curve(0, 1, "dpm-target"),
      curve(mean, width, "dpm-proposal"),
      ...circles,
      ...[[xOf(mean), yOf(bell(mean, mean, width))], flank].map(([cx, cy]) =>
        svg("circle", { class: "dpm-grip", cx, cy, r: 7 }),
      ),
      ...[-4, -2, 0, 2, 4].map((x) => text(xOf(x), high - 4, String(x))),
    );
  }
  function drawDecay(measured) {
    const [wide, high, left, bottom] = [decay.clientWidth || 600, decay.clientHeight || 168, 46, 22];
    const xOf = (k) => left + ((wide - left - 12) * k) / DIMENSIONS.at(-1);
    const yOf = (share) => 8 + (high - bottom - 8) * Math.min(1, Math.log10(Math.max(share, 1e-9)) / -4);
    const path = Array.from({ length: 101 }, (_, i) => (i * DIMENSIONS.at(-1)) / 100)
      .map((k) => [k, effectiveShare(k, mean, width)])
      .filter(([, share]) => share > 1e-4) // below, the line leaves the plot
      .map(([k, share]) => `${xOf(k)},${yOf(share)}`);
    decay.replaceChildren(
      ...[1, 0.1, 0.01, 0.001].flatMap((s) => [
        line(left, yOf(s), wide - 12, yOf(s), "dpm-grid"),
        text(left - 6, yOf(s) + 4, String(s), "end"),
      ]),
      text(wide - 14, yOf(1 / N) - 4, "one draw: no estimate can be lower", "end"),
      line(left, high - bottom, wide - 12, high - bottom, "dpm-axis"),
      svg("polyline", { class: "dpm-line dpm-target", points: path.join(" ") }),
      ...DIMENSIONS.map((k, i) =>
        svg("circle", {
          class: k === d ? "dpm-measured dpm-chosen" : "dpm-measured",
          cx: xOf(k),
          cy: yOf(measured[i]),
          r: k === d ? 6 : 4,
        }),
      ),
      ...[1, 10, 20, 30, 50].map((k) => text(xOf(k), high - 5, k === 1 ? "d = 1" : String(k))),
    );
  }

  figure.draw = () => {
    const all = DIMENSIONS.map((k) => logWeights(z.subarray(0, N * k), k, mean, width));
    const measured = all.map((logW) => effectiveSize(logW) / N);
    const at = DIMENSIONS.indexOf(d);
    drawDots(normalised(all[at]));
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
    const [x, y] = scales().flank;
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
  figure.onResize(dots);
  return figure.close;
}

export default { render };
