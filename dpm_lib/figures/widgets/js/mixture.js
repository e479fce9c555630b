// A mixture of Gaussians of one variance, blurred by noise of variance t: its density, and what a noisy point says.

import { normalCdf } from "./probability.js";

/**
 * At z (d numbers): log density `logP`, E[y | z] as `mean`, Cov[y | z] as `covariance` (d rows), the `score`, and the
 * `shares` of the components. The data y are sum_k weights[k] N(centers[k], variance I); z is y plus noise, t > 0.
 */
export function moments(z, t, { centers, weights, variance }) {
  const d = z.length;
  const width = variance + t;
  const logs = centers.map(
    (c, k) => Math.log(weights[k]) - z.reduce((sum, v, i) => sum + (v - c[i]) ** 2, 0) / (2 * width),
  );
  const top = Math.max(...logs);
  const raw = logs.map((v) => Math.exp(v - top));
  const total = raw.reduce((a, b) => a + b, 0);
  const shares = raw.map((v) => v / total);
  const middle = z.map((_, i) => shares.reduce((sum, s, k) => sum + s * centers[k][i], 0));
  const shrink = variance / width; // given its component, y lies between the centre and z
  const mean = z.map((v, i) => (1 - shrink) * middle[i] + shrink * v);
  const covariance = z.map((_, i) =>
    z.map((__, j) => {
      const between = shares.reduce(
        (sum, s, k) => sum + s * (centers[k][i] - middle[i]) * (centers[k][j] - middle[j]),
        0,
      );
      return (1 - shrink) ** 2 * between + (i === j ? shrink * t : 0);
    }),
  );
  const logP = top + Math.log(total) - 0.5 * d * Math.log(2 * Math.PI * width);
  return { logP, mean, covariance, score: z.map((v, i) => (mean[i] - v) / t), shares };
}

// On the line, where speed counts: centers are numbers.

/** The score of the blurred mixture at z. */
export function lineScore(z, t, { centers, weights, variance }) {
  const half = 0.5 / (variance + t);
  let nearest = Infinity;
  for (const c of centers) nearest = Math.min(nearest, (z - c) ** 2);
  let total = 0;
  let sum = 0;
  for (let k = 0; k < centers.length; k++) {
    const share = weights[k] * Math.exp(half * (nearest - (z - centers[k]) ** 2));
    total += share;
    sum += share * centers[k];
  }
  return 2 * half * (sum / total - z);
}

/** Its density. */
export function lineDensity(z, t, { centers, weights, variance }) {
  const width = variance + t;
  return (
    centers.reduce((sum, c, k) => sum + weights[k] * Math.exp((-0.5 * (z - c) ** 2) / width), 0) /
    Math.sqrt(2 * Math.PI * width)
  );
}

/** Its distribution function. */
export function lineCdf(z, t, { centers, weights, variance }) {
  const spread = Math.sqrt(variance + t);
  return centers.reduce((sum, c, k) => sum + weights[k] * normalCdf((z - c) / spread), 0);
}

/** A draw of it, made of one uniform and one normal number. */
export function lineDraw(t, { centers, weights, variance }, uniform, normal) {
  let k = 0;
  for (let left = uniform; k + 1 < weights.length && left > weights[k]; k++) left -= weights[k];
  return centers[k] + Math.sqrt(variance + t) * normal;
}
