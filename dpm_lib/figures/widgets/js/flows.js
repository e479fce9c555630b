// Flows on the line between two mixtures: velocity, the map of quantiles, few steps, and exact distances.

import { lineCdf } from "./mixture.js";

// --- Numbers; the twins are dpm_lib.diffusion.interpolants, mixture_flow and reflow. s = 0 is data. ---

const QUARTER = Math.PI / 2;
export const SIGMA = 4; // where the exploding path of the pages ends

/** x_s = a y + b e, with the derivatives, and the clock: the s at which b / a = sigma. */
export const PATHS = {
  linear: { a: (s) => 1 - s, b: (s) => s, da: () => -1, db: () => 1, clock: (v) => (v === Infinity ? 1 : v / (1 + v)) },
  cosine: {
    a: (s) => (s < 1 ? Math.cos(QUARTER * s) : 0),
    b: (s) => Math.sin(QUARTER * s),
    da: (s) => -QUARTER * Math.sin(QUARTER * s),
    db: (s) => QUARTER * Math.cos(QUARTER * s),
    clock: (v) => Math.atan(v) / QUARTER,
  },
  exploding: { a: () => 1, b: (s) => SIGMA * s, da: () => 0, db: () => SIGMA, clock: (v) => v / SIGMA },
};
export const NORMAL = { centers: [0], weights: [1], variance: 1 };

/** The law of x_s: a mixture with a component for each pair. */
export function lawAt(s, { target, source, path }) {
  const [a, b] = [path.a(s), path.b(s)];
  const pairs = target.centers.flatMap((c, i) => source.centers.map((e, j) => [i, j, a * c + b * e]));
  return {
    centers: pairs.map(([, , c]) => c),
    weights: pairs.map(([i, j]) => target.weights[i] * source.weights[j]),
    variance: a * a * target.variance + b * b * source.variance,
  };
}

/** A function of x: the mean of a' y + b' e given x_s = x, and the variance of that. */
export function velocityAt(s, flow) {
  const { target, source, path } = flow;
  const law = lawAt(s, flow);
  const [a, b, da, db] = [path.a(s), path.b(s), path.da(s), path.db(s)];
  const growth = (a * da * target.variance + b * db * source.variance) / law.variance;
  const within = da * da * target.variance + db * db * source.variance - growth * growth * law.variance;
  const offsets = target.centers
    .flatMap((c) => source.centers.map((e) => da * c + db * e))
    .map((drift, k) => drift - growth * law.centers[k]);
  const half = 0.5 / law.variance;
  return (x) => {
    let nearest = Infinity;
    for (const c of law.centers) nearest = Math.min(nearest, (x - c) ** 2);
    let total = 0;
    let first = 0;
    let second = 0;
    for (let k = 0; k < offsets.length; k++) {
      const share = law.weights[k] * Math.exp(half * (nearest - (x - law.centers[k]) ** 2));
      total += share;
      first += share * offsets[k];
      second += share * offsets[k] ** 2;
    }
    const mean = first / total;
    return { mean: mean + growth * x, spread: within + second / total - mean * mean };
  };
}

const mirrored = (law) => ({ ...law, centers: law.centers.map((c) => -c) });

/** Chances below and above x, both good to the last digits. */
export const chances = (x, law) => [lineCdf(x, 0, law), lineCdf(-x, 0, mirrored(law))];

/** The place of a law with these chances below and above it. */
export function quantile([below, above], law) {
  const lower = below < above;
  const turned = lower ? law : mirrored(law);
  const wanted = lower ? below : above;
  const wide = 30 * Math.sqrt(law.variance);
  let low = Math.min(...turned.centers) - wide;
  let high = Math.max(...turned.centers) + wide;
  for (let i = 0; i < 48; i++) {
    const middle = 0.5 * (low + high);
    if (lineCdf(middle, 0, turned) < wanted) low = middle;
    else high = middle;
  }
  return (lower ? 0.5 : -0.5) * (low + high);
}

/** Where the pairs' cost goes: { pairs, flow, bend, unknown }, pairs being the sum of the others. */
export function budget(flow, places = 161, nodes = 40) {
  const { target, source, path } = flow;
  const reach = 7 * Math.sqrt(target.variance);
  const low = Math.min(...target.centers) - reach;
  const high = Math.max(...target.centers) + reach;
  const y = Array.from({ length: places }, (_, i) => low + ((high - low) * i) / (places - 1));
  const parts = y.map((v) => chances(v, target));
  const mass = y.map((v) => {
    const terms = target.centers.map((c, k) => target.weights[k] * Math.exp((-0.5 * (v - c) ** 2) / target.variance));
    return terms.reduce((p, q) => p + q, 0);
  });
  const total = mass.reduce((p, q) => p + q, 0);
  const last = lawAt(1, flow);
  const chord = y.map((v, i) => quantile(parts[i], last) - v);
  const found = { pairs: 0, flow: 0, bend: 0, unknown: 0 };
  for (let i = 0; i < places; i++) found.flow += (mass[i] / total) * chord[i] ** 2;
  const square = ({ centers, weights, variance }) => variance + centers.reduce((t, c, k) => t + weights[k] * c * c, 0);
  const mean = ({ centers, weights }) => centers.reduce((t, c, k) => t + weights[k] * c, 0);
  for (let n = 0; n < nodes; n++) {
    const s = (n + 0.5) / nodes;
    const law = lawAt(s, flow);
    const velocity = velocityAt(s, flow);
    const [da, db] = [path.da(s), path.db(s)];
    found.pairs +=
      (da * da * square(target) + db * db * square(source) + 2 * da * db * mean(target) * mean(source)) / nodes;
    for (let i = 0; i < places; i++) {
      const { mean: v, spread } = velocity(quantile(parts[i], law));
      const share = mass[i] / total / nodes;
      found.bend += share * (v - chord[i]) ** 2;
      found.unknown += share * spread;
    }
  }
  return found;
}

/** Points x from s = 1 to 0 by Euler's method, or Heun's, in even steps: all states, the first included. */
export function solve(x, steps, flow, heun = false) {
  const states = [x];
  for (let i = 0; i < steps; i++) {
    const h = -1 / steps;
    const before = states[i];
    const velocity = velocityAt(1 - i / steps, flow);
    const slopes = before.map((v) => velocity(v).mean);
    let next = before.map((v, j) => v + h * slopes[j]);
    if (heun && i + 1 < steps) {
      const after = velocityAt(1 - (i + 1) / steps, flow);
      next = before.map((v, j) => v + 0.5 * h * (slopes[j] + after(next[j]).mean));
    }
    states.push(next);
  }
  return states;
}

/** DPM-Solver++ (2M) on the levels of the linear path at even s, from N(0, 1) at s = 1, for a normal source. */
export function multistep(x, steps, target) {
  const flow = { target, source: NORMAL, path: PATHS.linear };
  let noise = x; // z / sigma
  let old;
  let before;
  for (let i = 0; i < steps; i++) {
    const [s, next] = [1 - i / steps, 1 - (i + 1) / steps];
    const velocity = velocityAt(s, flow);
    const guess = noise.map((v) => s * v - s * velocity(s * v).mean);
    if (i + 1 === steps) return guess;
    const h = Math.log(s / next) - Math.log((1 - s) / (1 - next));
    const more = old ? (0.5 * h) / before : 0;
    const rise = (1 - next) / next - (1 - s) / s;
    noise = noise.map((v, j) => v + rise * (guess[j] + (old ? more * (guess[j] - old[j]) : 0)));
    old = guess;
    before = h;
  }
  return x;
}

/** E max(0, side (edge - y)): the area under the tail of the target beyond an edge. */
function areaBeyond(edge, side, { centers, weights, variance }) {
  const width = Math.sqrt(variance);
  return centers.reduce((sum, c, k) => {
    const off = side * (edge - c);
    const below = lineCdf(off, 0, { centers: [0], weights: [1], variance });
    return (
      sum + weights[k] * (off * below + (width * Math.exp((-0.5 * off * off) / variance)) / Math.sqrt(2 * Math.PI))
    );
  }, 0);
}

/** The Wasserstein distance to the target of mass `mass` (m) that came to the places `end` (m), rising or not. */
export function distanceTo(target, end, cdf) {
  let places = Array.from(end);
  let below = Array.from(cdf);
  if (places.some((v, i) => i && v < places[i - 1])) {
    // a map that folds: what lay between two places is spread evenly between where they came
    const pieces = places.slice(1).flatMap((v, i) => {
      const count = Math.ceil(Math.abs(v - places[i]) / 0.005) || 1;
      const mass = (below[i + 1] - below[i]) / count;
      return Array.from({ length: count }, (_, k) => [places[i] + ((v - places[i]) * (k + 0.5)) / count, mass]);
    });
    pieces.sort((p, q) => p[0] - q[0]);
    let sum = below[0];
    places = pieces.map(([v]) => v);
    below = pieces.map(([, m]) => (sum += m) - 0.5 * m);
  }
  let area = areaBeyond(places[0], 1, target) + areaBeyond(places.at(-1), -1, target);
  let before = Math.abs(below[0] - lineCdf(places[0], 0, target));
  for (let i = 1; i < places.length; i++) {
    const gap = Math.abs(below[i] - lineCdf(places[i], 0, target));
    area += 0.5 * (gap + before) * (places[i] - places[i - 1]);
    before = gap;
  }
  return area;
}

/** Places of a source of clumps, all of its mass in them, with the chance below each. */
export function tableOf(source, count) {
  const reach = 7.5 * Math.sqrt(source.variance);
  const low = Math.min(...source.centers) - reach;
  const high = Math.max(...source.centers) + reach;
  const x = Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));
  return { x, cdf: x.map((v) => lineCdf(v, 0, source)) };
}
