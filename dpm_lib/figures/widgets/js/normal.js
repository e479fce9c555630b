// The normal distribution.

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
    let fraction = a + 60 / a;
    for (let k = 60; k > 0; k--) fraction = a + k / fraction;
    upper = density / fraction;
  }
  return z > 0 ? 1 - upper : upper;
}
