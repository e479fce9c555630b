// The chain, the bound K and its slopes: dpm_lib.diffusion.bound, schedules and reverse_kernels, in float64, for points of
// the plane. All logarithms are natural.
//
// With w = s x_0 - a eps - f, where x_t = a x_0 + s eps, a^2 = alpha_bar_t, s^2 = 1 - alpha_bar_t, f and L what the network
// says of the mean and the covariance, and k = s^2 (SNR_{t-1} - SNR_t), the divergence of a step is
//     KL = 1/2 [tr M^-1 + k w^T M^-1 w - 2 + log det M],   M = I + k L L^T.

/** The number of outputs that a covariance needs, in the plane. */
export function outputsOf(covariance) {
  return { posterior: 2, fixed_large: 2, isotropic: 3, diagonal: 4, full: 5 }[covariance];
}

/** log(1 + e^u). */
export function softplus(u) {
  return u > 0 ? u + Math.log1p(Math.exp(-u)) : Math.log1p(Math.exp(u));
}

/** The logarithms of the increments of log tau, from index 2 on, of T steps even in log tau from that of beta_1 to that of tau_T. */
export function evenSteps(T, beta1, tauT) {
  const first = Math.log(beta1) - Math.log1p(-beta1);
  return new Float64Array(T + 1).fill(Math.log((Math.log(tauT) - first) / (T - 1)), 2);
}

/** All that steps need of a schedule: of beta_1 and the logarithms of the increments of log tau, (T+1,), from index 2. */
export function openSchedule(T, beta1, logIncrements) {
  const logTau = new Float64Array(T + 1).fill(-Infinity, 0, 1);
  logTau[1] = Math.log(beta1) - Math.log1p(-beta1);
  const [gap, factor, signal, noise] = Array.from({ length: 4 }, () => new Float64Array(T + 1));
  for (let t = 2; t <= T; t++) {
    gap[t] = Math.exp(logIncrements[t]);
    logTau[t] = logTau[t - 1] + gap[t];
  }
  const logAlpha = logTau.map((u) => -softplus(u));
  for (let t = 0; t <= T; t++) {
    signal[t] = Math.exp(0.5 * logAlpha[t]);
    noise[t] = Math.exp(-0.5 * softplus(-logTau[t]));
    factor[t] = t > 1 ? signal[t] ** 2 * Math.expm1(gap[t]) : 0; // k
  }
  return { T, logTau, logAlpha, gap, signal, noise, factor };
}

/** Coefficients of q(x_{t-1} | x_t, x_0) = N(a x_t + b x_0, v I), for t in 2..T. */
export function bridge({ logTau, logAlpha }, t) {
  const [now, before] = [logAlpha[t], logAlpha[t - 1]];
  const rest = -Math.expm1(logTau[t - 1] - logTau[t]);
  const a = (Math.exp(0.5 * (now - before)) * Math.expm1(before)) / Math.expm1(now);
  return { a, b: Math.exp(0.5 * before) * rest, v: -Math.expm1(before) * rest };
}

/** The part of K(x_0) that no network enters, for |x_0|^2 = square. */
export function boundEnds({ T, logAlpha, noise }, square) {
  const [last, first] = [Math.exp(logAlpha[T]), Math.exp(logAlpha[1])];
  const prior = -0.5 * (2 * Math.log(2 * Math.PI) + last * square + 2 * noise[T] ** 2);
  const edge = -0.5 * square + 0.5 * (first * square + 2 * noise[1] ** 2);
  return prior + edge + 2 * Math.log(noise[T]) - 2 * Math.log(noise[1]);
}

/** L of `covariance`, from what the network says, out[at...]: fills l = [l00, l10, l11]. */
export function readFactor(covariance, out, at, l) {
  if (covariance === "posterior") l.fill(0);
  else if (covariance === "fixed_large") [l[0], l[1], l[2]] = [1, 0, 1];
  else {
    l[0] = Math.exp(out[at + 2]);
    l[1] = covariance === "full" ? out[at + 4] : 0;
    l[2] = covariance === "isotropic" ? l[0] : Math.exp(out[at + 3]);
  }
}

/**
 * KL of a step, and its slopes: fills `slope` with those in w0, w1, k, l00, l10, l11. A symmetric M = [p, q; q, r].
 */
export function stepKL(k, w0, w1, l, slope) {
  const [l0, l1, l2] = l;
  const [p, q, r] = [1 + k * l0 * l0, k * l0 * l1, 1 + k * (l1 * l1 + l2 * l2)];
  const det = p * r - q * q;
  const [ip, iq, ir] = [r / det, -q / det, p / det];
  const [v0, v1] = [ip * w0 + iq * w1, iq * w0 + ir * w1];
  const square = v0 * w0 + v1 * w1;
  // H, the slope in M: 1/2 (M^-1 - M^-2 - k v v^T)
  const hp = 0.5 * (ip - ip * ip - iq * iq - k * v0 * v0);
  const hq = 0.5 * (iq - ip * iq - iq * ir - k * v0 * v1);
  const hr = 0.5 * (ir - iq * iq - ir * ir - k * v1 * v1);
  const [g0, g1, g2] = [hp * l0 + hq * l1, hq * l0 + hr * l1, hr * l2]; // H L, its lower triangle
  slope[0] = k * v0;
  slope[1] = k * v1;
  slope[2] = 0.5 * square + g0 * l0 + g1 * l1 + g2 * l2;
  slope[3] = 2 * k * g0;
  slope[4] = 2 * k * g1;
  slope[5] = 2 * k * g2;
  // det M - 1 and tr M^-1 - 2, without cancellation where k is small
  const trace = k * (l0 * l0 + l1 * l1 + l2 * l2);
  const grown = trace + (k * l0 * l2) ** 2;
  return 0.5 * ((trace - 2 * grown) / (1 + grown) + k * square + Math.log1p(grown));
}

/** Weights and probabilities of the times of an objective, each (T+1,): dpm_lib.diffusion.loss_weights.on_schedule. */
export function timesOf(objective, { T, logTau }) {
  const [weight, probability] = [new Float64Array(T + 1), new Float64Array(T + 1)];
  const place = (u) => 1 / (1 + Math.exp(-0.5 * u));
  for (let t = 2; t <= T; t++) {
    const snr = Math.exp(-logTau[t]);
    weight[t] = objective === "flow" ? (1 + Math.sqrt(snr)) ** 2 : snr;
    probability[t] = objective === "flow" ? place(logTau[t]) - place(logTau[t - 1]) : 1;
  }
  const total = probability.reduce((sum, p) => sum + p, 0);
  return { weight, probability: probability.map((p) => p / total) };
}
