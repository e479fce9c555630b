// Probability in numbers: the normal distribution function, distances between laws, weights and resampling.

/** The normal distribution function, by its series near 0 and its continued fraction in the tails. */
export function normalCdf(z) {
  const a = Math.abs(z);
  const density = Math.exp(-0.5 * a * a) / Math.sqrt(2 * Math.PI);
  let upper;
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let k = 1; Math.abs(term) > 1e-17 * sum && k < 200; k++) sum += term *= (a * a) / (2 * k + 1);
    upper = 0.5 - density * sum;
  } else {
    const depth = Math.ceil(600 / (a * a)) + 10; // the further out, the sooner it settles
    let fraction = a + depth / a;
    for (let k = depth; k > 0; k--) fraction = a + k / fraction;
    upper = density / fraction;
  }
  return z > 0 ? 1 - upper : upper;
}

/** The largest difference that two laws can make to the probability of an event. */
export const totalVariation = (p, q) => 0.5 * p.reduce((sum, value, i) => sum + Math.abs(value - q[i]), 0);

/** Of log weights: the shares, which sum to 1; the log of the mean weight; the effective size (sum w)^2 / sum w^2. */
export function weigh(logWeights) {
  const top = logWeights.reduce((a, b) => Math.max(a, b));
  const weights = logWeights.map((value) => Math.exp(value - top));
  const total = weights.reduce((a, b) => a + b, 0);
  const shares = weights.map((value) => value / total);
  const size = 1 / shares.reduce((sum, value) => sum + value * value, 0);
  return { shares, logMean: top + Math.log(total / weights.length), size };
}

/** Systematic resampling: which of them each place gets, by their shares and one uniform number u. */
export function systematic(shares, u) {
  const n = shares.length;
  let j = 0;
  let reached = shares[0];
  return Int32Array.from({ length: n }, (_, i) => {
    while (reached < (i + u) / n && j < n - 1) reached += shares[++j];
    return j;
  });
}
