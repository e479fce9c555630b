// One Brownian path, the exact solution it drives, and Euler-Maruyama with few or many steps of the same noise.

import { button, controls, fillNormals, html, keys, openFigure, svg, uniforms } from "./common.js";

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

  const race = svg("svg", {
    class: "dpm-plot dpm-race",
    role: "img",
    "aria-label": "The exact path, and Euler-Maruyama on the same noise",
  });
  const fall = svg("svg", {
    class: "dpm-plot dpm-errors",
    role: "img",
    "aria-label": "Strong and weak error against the number of steps, both logarithmic",
  });
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const text = (x, y, words, anchor = "middle") => svg("text", { x, y, "text-anchor": anchor }, words);
  const sizeOf = (plot) => [plot.clientWidth || 600, plot.clientHeight || 200];

  function draw() {
    const all = fillNormals(new Float64Array(PATHS * FINE), uniforms(1000 * seed));
    for (let k = 0; k < all.length; k++) all[k] /= Math.sqrt(FINE);
    own = all.slice(0, FINE);
    errors = strongErrors(kind, all, PATHS, OCTAVES);
    exact = truth(kind, own);
    figure.redraw();
  }
  const L = 40;
  const R = 10;
  const T = 10;
  const B = 20;
  function drawRace() {
    const [width, height] = sizeOf(race);
    const rough = eulerPath(KINDS[kind], coarsen(own, FINE / 2 ** power));
    const low = Math.min(...exact, ...rough) - 0.1;
    const high = Math.max(...exact, ...rough) + 0.1;
    const x = (t) => L + (width - L - R) * t;
    const y = (v) => T + ((height - T - B) * (high - v)) / (high - low);
    const fine = [];
    for (let k = 0; k <= FINE; k += 8) fine.push(`${x(k / FINE).toFixed(1)},${y(exact[k]).toFixed(1)}`);
    const coarse = Array.from(rough, (v, k) => [x(k / (rough.length - 1)), y(v)]);
    const dots = rough.length < 70 ? coarse.map(([cx, cy]) => svg("circle", { cx, cy, r: 3, class: "dpm-dot" })) : [];
    race.replaceChildren(
      svg("polyline", { points: fine.join(" "), class: "dpm-truth" }),
      svg("polyline", { points: coarse.map((pair) => pair.join(",")).join(" "), class: "dpm-steps" }),
      ...dots,
      svg("line", { x1: L, x2: width - R, y1: height - B, y2: height - B, class: "dpm-axis" }),
      text(x(0), height - 4, "t = 0"),
      text(x(1), height - 4, "1", "end"),
    );
    return Math.abs(rough[rough.length - 1] - exact[FINE]);
  }
  function drawFall() {
    const [width, height] = sizeOf(fall);
    const x = (k) => L + ((width - L - R) * k) / OCTAVES;
    const y = (e) => T + ((height - T - B) * (0.7 - Math.log10(e))) / 4.2;
    const ticks = [1, 0.1, 0.01, 0.001].flatMap((e) => [
      svg("line", { x1: L, x2: width - R, y1: y(e), y2: y(e), class: "dpm-grid" }),
      text(L - 5, y(e) + 4, e, "end"),
    ]);
    const weak = Array.from({ length: OCTAVES + 1 }, (_, k) => weakError(kind, 2 ** k));
    const order = kind === "additive" ? 1 : 0.5;
    const guide = Array.from(errors, (_, k) => `${x(k)},${y(errors[OCTAVES] * 2 ** (order * (OCTAVES - k)))}`);
    const dots = (values, name) =>
      Array.from(values, (e, k) => svg("circle", { cx: x(k), cy: y(e), r: k === power ? 6 : 4, class: name }));
    fall.replaceChildren(
      ...ticks,
      svg("polyline", { points: guide.join(" "), class: "dpm-target" }),
      ...dots(errors, "dpm-dot"),
      ...dots(weak, "dpm-dot dpm-calm"),
      ...[0, 2, 4, 6, 8].map((k) => text(x(k), height - 4, k === 0 ? "1 step" : 2 ** k)),
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
    Object.assign(figure.root.dataset, {
      t: 0,
      steps: 2 ** power,
      kind,
      strong: errors[power],
      weak: weak[power],
      slope,
    });
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
  figure.onResize(race);
  figure.onResize(fall);
  return figure.close;
}

export default { render };
