// One Brownian path, the exact solution it drives, and Euler-Maruyama with few or many steps of the same noise.

import { button, controls, fillNormals, html, keys, openFigure, renew, uniforms } from "./common.js";
import { evenly, openPlot, scales, text } from "./plot.js";
import { live } from "./view.js";

// --- Numbers. Time runs from 0 to 1. ---

export const KINDS = {
  // dX = X/2 dt + sqrt(1 + X^2) dW, solved by sinh(arsinh X_0 + W)
  multiplicative: { drift: (x) => x / 2, sigma: (x) => Math.sqrt(1 + x * x), start: 0.5 },
  // dX = -2 X dt + dW
  additive: { drift: (x) => -2 * x, sigma: () => 1, start: 1.5 },
};

/** The increments over steps `factor` times as long. */
export function coarsen(dw, factor) {
  const sums = new Float64Array(dw.length / factor);
  for (let k = 0; k < dw.length; k++) sums[Math.floor(k / factor)] += dw[k];
  return sums;
}

/** Euler-Maruyama along the given increments: the path at 0, dt, 2 dt, ..., 1. */
export function eulerPath({ drift, sigma, start }, dw) {
  const dt = 1 / dw.length;
  const path = new Float64Array(dw.length + 1);
  path[0] = start;
  for (let k = 0; k < dw.length; k++) path[k + 1] = path[k] + drift(path[k]) * dt + sigma(path[k]) * dw[k];
  return path;
}

/** The solution on the fine grid: in closed form, or, for additive noise, by the finest Euler path. */
export function truth(kind, dw) {
  if (kind === "additive") return eulerPath(KINDS.additive, dw);
  const path = new Float64Array(dw.length + 1);
  let w = 0;
  const from = Math.asinh(KINDS.multiplicative.start);
  path[0] = Math.sinh(from);
  for (let k = 0; k < dw.length; k++) path[k + 1] = Math.sinh(from + (w += dw[k]));
  return path;
}

/** Root mean square of the error at time 1 with 2^k steps, k = 0..most, over `count` paths of noise dw (flat). */
export function strongErrors(kind, dw, count, most) {
  const fine = dw.length / count;
  const squares = new Float64Array(most + 1);
  for (let i = 0; i < count; i++) {
    const own = dw.subarray(i * fine, (i + 1) * fine);
    const end = truth(kind, own)[fine];
    for (let k = 0; k <= most; k++)
      squares[k] += (eulerPath(KINDS[kind], coarsen(own, fine / 2 ** k))[2 ** k] - end) ** 2;
  }
  return squares.map((s) => Math.sqrt(s / count));
}

/** The error of the mean at time 1 with n steps: both means are known in closed form. */
export function weakError(kind, n) {
  const rate = { multiplicative: 0.5, additive: -2 }[kind];
  return Math.abs(KINDS[kind].start * ((1 + rate / n) ** n - Math.exp(rate)));
}

// --- The figure. ---

const OCTAVES = 8;
const FINE = 2 ** 12;
const PATHS = 200;

function render({ model, el }) {
  const figure = openFigure(model, el, "orders");
  let kind = "multiplicative";
  let power = 3;
  let seed = 1;
  let own;
  let exact;
  let errors;

  const race = openPlot(figure, "dpm-race", "The exact path, and Euler-Maruyama on the same noise");
  const about = "Strong and weak error against the number of steps, both logarithmic";
  const fall = openPlot(figure, "dpm-errors", about);
  const detail = html("p", { class: "dpm-detail dpm-now" });

  function draw() {
    const all = fillNormals(new Float64Array(PATHS * FINE), uniforms(1000 * seed));
    for (let k = 0; k < all.length; k++) all[k] /= Math.sqrt(FINE);
    own = all.slice(0, FINE);
    errors = strongErrors(kind, all, PATHS, OCTAVES);
    exact = truth(kind, own);
    figure.redraw();
  }
  const MARGINS = { left: 40, right: 10, top: 10, bottom: 20 };
  function drawRace() {
    const rough = eulerPath(KINDS[kind], coarsen(own, FINE / 2 ** power));
    const ends = [Math.min(...exact, ...rough) - 0.1, Math.max(...exact, ...rough) + 0.1];
    const plot = scales(race, MARGINS, [0, 1], ends);
    const coarse = Array.from(rough, (v, k) => [k / (rough.length - 1), v]);
    renew(
      race,
      plot.curve("dpm-truth", evenly(0, 1, FINE / 8), (t) => [t, exact[t * FINE]]),
      plot.curve("dpm-steps", coarse),
      ...(rough.length < 70 ? coarse.map(([t, v]) => plot.dot("dpm-dot", t, v, 3)) : []),
      plot.axis(),
      ...plot.marks([0], () => "t = 0"),
      text(plot.end, plot.height - 4, "1", "end"),
    );
    return Math.abs(rough[rough.length - 1] - exact[FINE]);
  }
  function drawFall() {
    const plot = scales(fall, MARGINS, [0, OCTAVES], [10 ** -3.5, 10 ** 0.7], { log: "y" });
    const weak = Array.from({ length: OCTAVES + 1 }, (_, k) => weakError(kind, 2 ** k));
    const order = kind === "additive" ? 1 : 0.5;
    const dots = (name, values) => Array.from(values, (e, k) => plot.dot(name, k, e, k === power ? 6 : 4));
    renew(
      fall,
      ...plot.rows([1, 0.1, 0.01, 0.001]),
      plot.curve("dpm-target", errors, (_, k) => [k, errors[OCTAVES] * 2 ** (order * (OCTAVES - k))]),
      ...dots("dpm-dot", errors),
      ...dots("dpm-dot dpm-calm", weak),
      ...plot.marks([0, 2, 4, 6, 8], (k) => (k === 0 ? "1 step" : 2 ** k)),
    );
    return weak;
  }
  figure.draw = () => {
    const miss = drawRace();
    const weak = drawFall();
    const slope = Math.log2(errors[OCTAVES - 4] / errors[OCTAVES]) / 4;
    detail.textContent =
      `${2 ** power} step${power ? "s" : ""}: this path ends ${miss.toFixed(3)} off. Root mean square over ${PATHS} paths ${errors[power].toPrecision(2)}; ` +
      `error of the mean ${weak[power].toPrecision(2)}. From 16 to 256 steps the strong error falls like steps to the power −${slope.toFixed(2)}.`;
    const [strong, mean] = [errors[power], weak[power]];
    Object.assign(figure.root.dataset, { t: 0, steps: 2 ** power, kind, strong, weak: mean, slope });
  };
  const number = figure.slider({
    label: "Steps",
    min: 0,
    max: OCTAVES,
    value: power,
    format: (value) => String(2 ** value),
    set: (value) => (power = value),
  });
  const noise = figure.chooser({
    label: "Noise",
    options: [
      ["multiplicative", "depends on x: √(1 + x²)"],
      ["additive", "constant"],
    ],
    value: kind,
    set: (value) => (kind = value),
    after: draw,
  });
  const again = button("New noise", () => (seed += 1), draw);
  figure.add(
    controls(number, noise, again),
    race,
    fall,
    keys({
      muted: "exact path",
      model: "Euler-Maruyama, and its strong error",
      data: "its weak error",
      limit: "power law",
    }),
    detail,
  );
  draw();
  return figure.close;
}

export default live(render);
