// Random walks of ever smaller steps: the paths under a lens, the histogram of their ends, and the sum of squared steps.

import { button, clamp, controls, html, keys, openFigure, svg, uniforms } from "./common.js";
import { normalCdf } from "./normal.js";

// --- Numbers. ---

/** n fair steps of +1 or -1, as an Int8Array. */
export function coinTosses(n, uniform) {
  const steps = new Int8Array(n);
  for (let k = 0; k < n; k++) steps[k] = uniform() < 0.5 ? -1 : 1;
  return steps;
}

/** W(k / n) = (sum of the first k steps) / sqrt(n), for k = 0..n. */
export function scaledWalk(steps) {
  const path = new Float64Array(steps.length + 1);
  const size = 1 / Math.sqrt(steps.length);
  for (let k = 0; k < steps.length; k++) path[k + 1] = path[k] + size * steps[k];
  return path;
}

/** The ends of many walks of n steps: sums of n signs, over sqrt(n). */
export function walkEnds(count, n, uniform) {
  const ends = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    let heads = 0;
    for (let left = n; left > 0; left -= 32) {
      let bits = Math.floor(uniform() * 4294967296) >>> 0;
      if (left < 32) bits = bits >>> (32 - left);
      for (; bits; bits &= bits - 1) heads += 1;
    }
    ends[i] = (2 * heads - n) / Math.sqrt(n);
  }
  return ends;
}

/** The sum of squared increments of a path seen at m + 1 even instants; m must divide the number of steps. */
export function squaredIncrements(path, m) {
  const stride = (path.length - 1) / m;
  let sum = 0;
  for (let k = 0; k < m; k++) sum += (path[(k + 1) * stride] - path[k * stride]) ** 2;
  return sum;
}

/** The same sum of absolute increments: the length of the way up and down. */
export function absoluteIncrements(path, m) {
  const stride = (path.length - 1) / m;
  let sum = 0;
  for (let k = 0; k < m; k++) sum += Math.abs(path[(k + 1) * stride] - path[k * stride]);
  return sum;
}

/** The probability of each end k = 0..n (k heads), by logarithms. */
export function endLaw(n) {
  const law = new Float64Array(n + 1);
  let log = -n * Math.LN2;
  for (let k = 0; k <= n; k++) {
    law[k] = Math.exp(log);
    log += Math.log((n - k) / (k + 1));
  }
  return law;
}

/** The largest difference between the exact law of the end of a walk of n steps and the normal law. */
export function distanceToNormal(n) {
  const law = endLaw(n);
  let below = 0;
  let gap = 0;
  for (let k = 0; k <= n; k++) {
    const normal = normalCdf((2 * k - n) / Math.sqrt(n));
    gap = Math.max(gap, Math.abs(normal - below), Math.abs(normal - below - law[k]));
    below += law[k];
  }
  return gap;
}

// --- The figure. ---

const PATHS = 12;
const CROWD = 4000;
const OCTAVES = 14;

function render({ model, el }) {
  const figure = openFigure(model, el, "limit");
  let power = model.get("power");
  let lens = 0;
  let seed = 1;
  let paths;
  let ends;
  let n;

  const course = svg("svg", {
    class: "dpm-plot dpm-paths",
    role: "img",
    "aria-label": "Twelve random walks, drawn to scale, under a lens at the start",
  });
  const hill = svg("svg", {
    class: "dpm-plot dpm-ends",
    role: "img",
    "aria-label": "Histogram of where 4000 walks are at time 1, over the normal density",
  });
  const squares = svg("svg", {
    class: "dpm-plot dpm-squares",
    role: "img",
    "aria-label": "Sum of squared increments of the walks against the number of instants",
  });
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const text = (x, y, words, anchor = "middle") => svg("text", { x, y, "text-anchor": anchor }, words);
  const sizeOf = (plot) => [plot.clientWidth || 300, plot.clientHeight || 170];

  function toss() {
    n = 2 ** power;
    const uniform = uniforms(seed);
    paths = Array.from({ length: PATHS }, () => scaledWalk(coinTosses(n, uniform)));
    ends = walkEnds(CROWD, n, uniform);
    lens = Math.min(lens, Math.floor(power / 2));
    zoom.range.max = Math.floor(power / 2);
    zoom.set(lens);
    figure.redraw();
  }
  const L = 38;
  const R = 8;
  const T = 8;
  const B = 20;
  function drawPaths() {
    const [width, height] = sizeOf(course);
    const until = 4 ** -lens;
    const reach = 2.6 * 2 ** -lens;
    const x = (t) => L + ((width - L - R) * t) / until;
    const y = (w) => (T + height - B) / 2 - ((height - T - B) * w) / (2 * reach);
    const count = Math.round(n * until);
    const stride = Math.max(1, Math.floor(count / 600));
    const lines = paths.map((path, i) => {
      const points = [];
      for (let k = 0; k <= count; k += stride) points.push(`${x(k / n).toFixed(1)},${y(path[k]).toFixed(1)}`);
      return svg("polyline", { points: points.join(" "), class: i ? "dpm-walk" : "dpm-walk dpm-first" });
    });
    const rim = Array.from({ length: 41 }, (_, k) => [x((until * k) / 40), 2 * Math.sqrt((until * k) / 40)]);
    const bound = (sign) =>
      svg("polyline", { points: rim.map(([a, w]) => `${a},${y(sign * w)}`).join(" "), class: "dpm-target" });
    const show = (value) => (value === 0 ? "0" : Number(value.toPrecision(2)).toString()).replace("-", "−");
    course.replaceChildren(
      svg("line", { x1: L, x2: width - R, y1: y(0), y2: y(0), class: "dpm-grid" }),
      ...lines,
      bound(1),
      bound(-1),
      text(L - 4, y(2 * 2 ** -lens) + 4, show(2 * 2 ** -lens), "end"),
      text(L - 4, y(0) + 4, "0", "end"),
      text(L - 4, y(-2 * 2 ** -lens) + 4, show(-2 * 2 ** -lens), "end"),
      text(x(0), height - 4, "0"),
      text(x(until), height - 4, lens === 0 ? "t = 1" : `t = 1/${4 ** lens}`, "end"),
    );
  }
  function drawHill() {
    const [width, height] = sizeOf(hill);
    const step = 2 / Math.sqrt(n); // ends lie on a lattice
    const wide = step * (2 * Math.max(0, Math.round((0.25 / step - 1) / 2)) + 1); // an odd number of places to a bar
    const many = Math.ceil(3.6 / wide);
    const odd = n % 2 === 1 && wide === step ? step / 2 : 0;
    const bars = new Float64Array(2 * many + 1);
    for (const end of ends)
      bars[clamp(Math.floor((end - odd) / wide + 0.5 + 1e-9) + many, 0, 2 * many)] += 1 / (CROWD * wide);
    const x = (w) => L + ((width - L - R) * (w + 3.5)) / 7;
    const y = (d) => height - B - ((height - T - B) * Math.min(d, 0.62)) / 0.62;
    const rects = Array.from(bars, (value, i) => {
      const low = clamp((i - many - 0.5) * wide + odd, -3.5, 3.5);
      const high = clamp((i - many + 0.5) * wide + odd, -3.5, 3.5);
      return svg("rect", {
        x: x(low),
        width: Math.max(0, x(high) - x(low) - 1),
        y: y(value),
        height: height - B - y(value),
        class: "dpm-walkers",
      });
    });
    const bell = Array.from({ length: 141 }, (_, k) => -3.5 + k / 20).map(
      (w) => `${x(w)},${y(Math.exp((-w * w) / 2) / Math.sqrt(2 * Math.PI))}`,
    );
    hill.replaceChildren(
      ...rects,
      svg("polyline", { points: bell.join(" "), class: "dpm-exact" }),
      svg("line", { x1: L, x2: width - R, y1: height - B, y2: height - B, class: "dpm-axis" }),
      ...[-2, 0, 2].map((w) => text(x(w), height - 4, String(w).replace("-", "−"))),
      text(L, T + 8, "at t = 1", "start"),
    );
  }
  function drawSquares() {
    const [width, height] = sizeOf(squares);
    const x = (k) => L + ((width - L - R) * k) / OCTAVES;
    const y = (q) => height - B - ((height - T - B) * Math.min(q, 3)) / 3;
    const band = Array.from({ length: OCTAVES + 1 }, (_, k) => 2 * Math.sqrt(2 / 2 ** k));
    const bound = (sign) =>
      svg("polyline", {
        points: band.map((b, k) => `${x(k)},${y(Math.max(0, 1 + sign * b))}`).join(" "),
        class: "dpm-target",
      });
    const lines = paths.map((path, i) => {
      const points = Array.from({ length: power + 1 }, (_, k) => `${x(k)},${y(squaredIncrements(path, 2 ** k))}`);
      return svg("polyline", { points: points.join(" "), class: i ? "dpm-walk" : "dpm-walk dpm-first" });
    });
    squares.replaceChildren(
      svg("line", { x1: L, x2: width - R, y1: y(1), y2: y(1), class: "dpm-grid" }),
      ...lines,
      bound(1),
      bound(-1),
      ...[0, 1, 2, 3].map((q) => text(L - 4, y(q) + 4, q, "end")),
      ...[0, 4, 8, 12].map((k) => text(x(k), height - 4, 2 ** k)),
      text(width - R, T + 8, "squared steps, by number of looks", "end"),
    );
  }
  figure.draw = () => {
    drawPaths();
    drawHill();
    drawSquares();
    const first = paths[0];
    detail.textContent =
      `n = ${n}: ${n} step${n > 1 ? "s" : ""} of ±${(1 / Math.sqrt(n)).toPrecision(3)} in a unit of time. ` +
      `Exact law of the end against the normal: off by ${distanceToNormal(n).toFixed(4)} at most. ` +
      `The thick walk, at its ${n + 1} instants: squared steps ${squaredIncrements(first, n).toFixed(3)}, absolute steps ${absoluteIncrements(first, n).toFixed(1)}.`;
    Object.assign(figure.root.dataset, {
      t: 0,
      n,
      lens,
      distance: distanceToNormal(n),
      squares: squaredIncrements(first, n),
    });
  };
  const number = figure.slider({
    label: "Steps n",
    min: 0,
    max: OCTAVES,
    value: power,
    format: (value) => String(2 ** value),
    set: (value) => (power = value),
    after: toss,
  });
  const zoom = figure.slider({
    label: "Lens",
    min: 0,
    max: 7,
    value: 0,
    format: (value) => (value ? `×${4 ** value} in time, ×${2 ** value} in height` : "off"),
    set: (value) => (lens = value),
  });
  const again = button("New coins", () => (seed += 1), toss);
  figure.add(
    course,
    html("div", { class: "dpm-two" }, hill, squares),
    keys({ model: "walks", data: "normal density", limit: "two standard deviations of the limit" }),
    controls(number, again),
    controls(zoom),
    detail,
  );
  toss();
  for (const plot of [course, hill, squares]) figure.onResize(plot);
  return figure.close;
}

export default { render };
