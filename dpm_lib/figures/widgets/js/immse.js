// Information and estimation in one dimension: the twins are dpm_lib.information.mmse and i_mmse.

const REACH = 9;
const EULER = 0.5772156649015329;

/** Trapezoidal nodes and weights for means over a standard normal. */
export function lineRule(step) {
  const half = Math.ceil(REACH / step);
  const nodes = Float64Array.from({ length: 2 * half + 1 }, (_, i) => (REACH * (i - half)) / half);
  const weights = nodes.map((g) => Math.exp(-0.5 * g * g));
  const total = weights.reduce((a, b) => a + b, 0);
  return { nodes, weights: weights.map((w) => w / total) };
}

/** mmse(t) and the entropy of z(t), nats, for a mixture { centers, weights, variance } on the line. */
export function estimate({ centers, weights, variance }, t, rule) {
  const width = variance + t;
  const spread = Math.sqrt(width);
  const m = centers.length;
  const share = new Float64Array(m);
  let error = 0;
  let logs = 0;
  for (let k = 0; k < m; k++) {
    let sumError = 0;
    let sumLog = 0;
    for (let i = 0; i < rule.nodes.length; i++) {
      const z = centers[k] + spread * rule.nodes[i];
      let total = 0;
      let mean = 0;
      const nearest = 0.5 * rule.nodes[i] ** 2; // of its own centre: the exponents stay below it or near 0
      for (let j = 0; j < m; j++) {
        share[j] = weights[j] * Math.exp(nearest - (z - centers[j]) ** 2 / (2 * width));
        total += share[j];
        mean += share[j] * (centers[j] - centers[k]);
      }
      mean /= total;
      let second = 0;
      for (let j = 0; j < m; j++) second += share[j] * (centers[j] - centers[k] - mean) ** 2;
      sumError += rule.weights[i] * (second / total);
      sumLog += rule.weights[i] * (Math.log(total) - nearest);
    }
    error += weights[k] * sumError;
    logs += weights[k] * sumLog;
  }
  const shrink = t / width;
  return {
    mmse: shrink * shrink * error + (variance * t) / width,
    entropy: 0.5 * Math.log(2 * Math.PI * width) - logs,
  };
}

/** mmse(t) and I(y; z(t)), nats, of `count` equally likely points, every two `distance` apart: the race of clocks. */
export function estimateEquidistant(count, distance, t) {
  const square = (distance * distance) / (2 * t);
  const s = Math.sqrt(square);
  const rule = lineRule(Math.min(0.25, 0.6 / s));
  const last = REACH * s + 5;
  const step = 0.4;
  let first = 0;
  let meanLog = 0;
  for (let r = -square - REACH * s - 40; r < last; r += step) {
    let others = 0;
    let otherRings = 0;
    let own = 0;
    let ownRings = 0;
    for (let i = 0; i < rule.nodes.length; i++) {
      const rate = Math.exp(r + s * rule.nodes[i]);
      const ownRate = Math.exp(Math.min(700, r + square + s * rule.nodes[i]));
      const silent = rule.weights[i] * Math.exp(-rate);
      const ownSilent = rule.weights[i] * Math.exp(-ownRate);
      others += silent;
      otherRings += Math.min(rate, 1e300) * silent;
      own += ownSilent;
      ownRings += ownRate * ownSilent;
    }
    const rest = others ** (count - 2);
    first += step * ownRings * rest * others;
    meanLog += step * r * (ownRings * others + (count - 1) * own * otherRings) * rest;
  }
  return { mmse: 0.5 * distance * distance * (1 - first), information: Math.log(count) + square + EULER + meanLog };
}

/** For f at even places `step` apart, the integrals from each place to the last: cubic through four neighbours. */
export function integralsToEnd(f, step) {
  const sums = new Float64Array(f.length);
  for (let i = f.length - 2; i >= 0; i--) {
    const before = i > 0 ? f[i - 1] : 3 * f[0] - 3 * f[1] + f[2];
    const after = i + 2 < f.length ? f[i + 2] : 3 * f[i + 1] - 3 * f[i] + f[i - 1];
    sums[i] = sums[i + 1] + (step / 24) * (13 * (f[i] + f[i + 1]) - before - after);
  }
  return sums;
}

/**
 * The figure's whole table, for t = 10^low, ..., 10^high in steps of a `perDecade`-th: the density of the information
 * per unit of log t, its integral from t on, and I(y; z(t)) from entropies. `data` is a mixture, or { count, distance }.
 */
export function table(data, low, high, perDecade) {
  const rule = lineRule(0.1);
  const t = Float64Array.from(
    { length: Math.round((high - low) * perDecade) + 1 },
    (_, i) => 10 ** (low + i / perDecade),
  );
  const density = new Float64Array(t.length);
  const known = new Float64Array(t.length);
  t.forEach((level, i) => {
    if (data.count && data.distance ** 2 > 360 * level) {
      // never mistaken, to 1e-19
      known[i] = Math.log(data.count);
      return;
    }
    const found = data.count ? estimateEquidistant(data.count, data.distance, level) : estimate(data, level, rule);
    density[i] = found.mmse / (2 * level);
    known[i] = data.count ? found.information : found.entropy - noiseEntropy(level);
  });
  const trace = data.count ? (0.5 * data.distance ** 2) / data.count : momentsOf(data).variance; // in each direction
  const beyond = 0.5 * (data.count ? data.count - 1 : 1) * Math.log1p(trace / t.at(-1));
  const area = integralsToEnd(density, Math.LN10 / perDecade).map((value) => value + beyond);
  return { t, density, area, known, entropy: data.count ? Math.log(data.count) : dataEntropy(data, rule) };
}

export function momentsOf({ centers, weights, variance }) {
  const mean = centers.reduce((sum, c, k) => sum + weights[k] * c, 0);
  return { mean, variance: variance + centers.reduce((sum, c, k) => sum + weights[k] * (c - mean) ** 2, 0) };
}

/** Entropy of the data, nats: of the points if the variance is 0 (equal places count once), else of the density. */
export function dataEntropy({ centers, weights, variance }, rule) {
  if (variance > 0) return estimate({ centers, weights, variance }, 1e-12 * variance, rule).entropy;
  const places = new Map();
  centers.forEach((c, k) => places.set(c, (places.get(c) ?? 0) + weights[k]));
  return -[...places.values()].reduce((sum, w) => sum + (w > 0 ? w * Math.log(w) : 0), 0);
}

/**
 * Points +-a +-b +-c with blobs of this variance, a = half of spacings[0] and so on: the density of the information
 * per unit of log t, for each of the three choices in order, and for the place within a blob.
 */
export function levelDensities(spacings, variance, t, rule) {
  const errors = [];
  for (let from = 0; from <= 3; from++) {
    const centers = spacings.slice(from).reduce((all, gap) => all.flatMap((c) => [c - gap / 2, c + gap / 2]), [0]);
    errors.push(estimate({ centers, weights: centers.map(() => 1 / centers.length), variance }, t, rule).mmse);
  }
  return [0, 1, 2, 3].map((k) => Math.max(0, errors[k] - (errors[k + 1] ?? 0)) / (2 * t));
}

export const noiseEntropy = (t) => 0.5 * Math.log(2 * Math.PI * Math.E * t);
