// Random walks of ever smaller steps: the paths under a lens, the histogram of their ends, and the sum of squared steps.

import { button, clamp, controls, html, keys, openFigure, renew, uniforms } from "./common.js";
import { evenly, openPlot, rect, scales, short, text } from "./plot.js";
import { normalCdf } from "./probability.js";
import { live } from "./view.js";

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

  const course = openPlot(figure, "dpm-paths", "Twelve random walks, drawn to scale, under a lens at the start");
  const about = "Histogram of where 4000 walks are at time 1, over the normal density";
  const hill = openPlot(figure, "dpm-ends", about);
  const label = "Sum of squared increments of the walks against the number of instants";
  const squares = openPlot(figure, "dpm-squares", label);
  const detail = html("p", { class: "dpm-detail dpm-now" });

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
  const MARGINS = { left: 38, right: 8, top: 8, bottom: 20, gap: 4 };
  const kindOf = (i) => (i ? "dpm-walk" : "dpm-walk dpm-first");
  function drawPaths() {
    const until = 4 ** -lens;
    const reach = 2 ** -lens;
    const plot = scales(course, MARGINS, [0, until], [-2.6 * reach, 2.6 * reach]);
    const count = Math.round(n * until);
    const stride = Math.max(1, Math.floor(count / 600));
    const shown = Array.from({ length: Math.floor(count / stride) + 1 }, (_, j) => j * stride);
    const bound = (sign) => plot.curve("dpm-target", evenly(0, until, 40), (t) => [t, 2 * sign * Math.sqrt(t)]);
    renew(
      course,
      plot.across(0),
      ...paths.map((path, i) => plot.curve(kindOf(i), shown, (k) => [k / n, path[k]])),
      bound(1),
      bound(-1),
      ...[2 * reach, 0, -2 * reach].map((w) => text(plot.left - 4, plot.y(w) + 4, short(w), "end")),
      ...plot.marks([0]),
      text(plot.end, plot.height - 4, lens === 0 ? "t = 1" : `t = 1/${4 ** lens}`, "end"),
    );
  }
  function drawHill() {
    const step = 2 / Math.sqrt(n); // ends lie on a lattice
    const wide = step * (2 * Math.max(0, Math.round((0.25 / step - 1) / 2)) + 1); // an odd number of places to a bar
    const many = Math.ceil(3.6 / wide);
    const odd = n % 2 === 1 && wide === step ? step / 2 : 0;
    const bars = new Float64Array(2 * many + 1);
    for (const end of ends)
      bars[clamp(Math.floor((end - odd) / wide + 0.5 + 1e-9) + many, 0, 2 * many)] += 1 / (CROWD * wide);
    const plot = scales(hill, MARGINS, [-3.5, 3.5], [0, 0.62], { held: "xy" });
    const edge = (i) => plot.x((i - many - 0.5) * wide + odd);
    const density = (w) => Math.exp((-w * w) / 2) / Math.sqrt(2 * Math.PI);
    renew(
      hill,
      ...Array.from(bars, (v, i) =>
        rect("dpm-walkers", edge(i), plot.y(v), edge(i + 1) - edge(i) - 1, plot.floor - plot.y(v)),
      ),
      plot.curve("dpm-exact", evenly(-3.5, 3.5, 140), (w) => [w, density(w)]),
      plot.axis(),
      ...plot.marks([-2, 0, 2]),
      text(plot.left, plot.top + 8, "at t = 1", "start"),
    );
  }
  function drawSquares() {
    const plot = scales(squares, MARGINS, [0, OCTAVES], [0, 3], { held: "y" });
    const looks = (last) => Array.from({ length: last + 1 }, (_, k) => k);
    const bound = (sign) => plot.curve("dpm-target", looks(OCTAVES), (k) => [k, 1 + 2 * sign * Math.sqrt(2 / 2 ** k)]);
    renew(
      squares,
      plot.across(1),
      ...paths.map((path, i) => plot.curve(kindOf(i), looks(power), (k) => [k, squaredIncrements(path, 2 ** k)])),
      bound(1),
      bound(-1),
      ...[0, 1, 2, 3].map((q) => text(plot.left - 4, plot.y(q) + 4, q, "end")),
      ...plot.marks([0, 4, 8, 12], (k) => 2 ** k),
      text(plot.end, plot.top + 8, "squared steps, by number of looks", "end"),
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
    const distance = distanceToNormal(n);
    Object.assign(figure.root.dataset, { t: 0, n, lens, distance, squares: squaredIncrements(first, n) });
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
  return figure.close;
}

export default live(render);
