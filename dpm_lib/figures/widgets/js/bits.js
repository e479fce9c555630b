// Bits that flip, in numbers: evidence, a small network, the chains, and the exact bound by kinds of string.
//
// Noise levels come as tau = 1 / alpha_bar - 1, from tau[0] = 0; the last may be infinite.

const sigmoid = (v) => 1 / (1 + Math.exp(-v));
const softplus = (v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));

/** log P(x_t = x_0) / P(x_t != x_0) = 2 artanh(alpha_bar). */
export const evidence = (tau) => Math.log1p(2 / tau);

/** log P(x_t = x_{t-1}) / P(x_t != x_{t-1}), from tau_{t-1} and tau_t. */
export const stepEvidence = (before, now) => (now === Infinity ? 0 : Math.log((2 + before + now) / (now - before)));

/** `count` levels of a list tau_0..tau_T, with tau_0, tau_1 and tau_T among them. */
export function thinned(tau, count) {
  const T = tau.length - 1;
  const pick = (k) => (count === 1 ? T : 1 + Math.round((k * (T - 1)) / (count - 1)));
  return [0, ...Array.from({ length: count }, (_, k) => tau[pick(k)])];
}

// --- The network and the chains ---

/** Layers from flat weights: W (out, in) and b (out) of each, row-major. */
export function readLayers(weights, shapes) {
  let start = 0;
  const take = (length) => weights.subarray(start, (start += length));
  const layers = shapes.map(([out, inputs]) => ({ out, inputs, W: take(out * inputs), b: take(out) }));
  if (start !== weights.length) throw new Error(`${weights.length} weights where the shapes need ${start}`);
  return layers;
}

/** The network's log-odds of x_0 = 1 for one string's evidence (d), with SiLU between the layers. */
export function startLogits(given, logTau, { layers, frequencies }) {
  const phases = Array.from(frequencies, (w) => w * logTau);
  let h = [...given, ...phases.map(Math.sin), ...phases.map(Math.cos)];
  layers.forEach(({ out, inputs, W, b }, depth) => {
    const next = new Float64Array(out);
    for (let o = 0; o < out; o++) {
      let sum = b[o];
      for (let i = 0; i < inputs; i++) sum += W[o * inputs + i] * h[i];
      next[o] = depth < layers.length - 1 ? sum * sigmoid(sum) : sum;
    }
    h = next;
  });
  return h;
}

const MAX_LOG_TAU = 20;

/** P(x_{t-1} = 1 | x_t) of each bit of one string x (d), for t >= 2. */
export function reverseRates(x, before, now, net) {
  const own = evidence(now);
  const [step, start] = [stepEvidence(before, now), evidence(before)];
  const logits = startLogits(
    Array.from(x, (bit) => (2 * bit - 1) * own),
    Math.min(Math.log(now), MAX_LOG_TAU),
    net,
  );
  return Float64Array.from(x, (bit, i) => {
    const from = (2 * bit - 1) * step;
    const one = sigmoid(logits[i]);
    return one * sigmoid(from + start) + (1 - one) * sigmoid(from - start);
  });
}

/** Data flipping: strings x0 (flat, n * d) at every level of tau, [x_0, ..., x_T]. A bit keeps with alpha_bar. */
export function flipped(x0, tau, uniform) {
  const path = [Uint8Array.from(x0)];
  for (let t = 1; t < tau.length; t++) {
    const flip = sigmoid(-stepEvidence(tau[t - 1], tau[t]));
    path.push(path[t - 1].map((bit) => (uniform() < flip ? 1 - bit : bit)));
  }
  return path;
}

/** The model un-flipping n strings of d fair coins: [x_0, ..., x_T]. The last step is the fixed edge step. */
export function unflipped(n, d, tau, net, uniform) {
  const T = tau.length - 1;
  const path = new Array(T + 1);
  path[T] = Uint8Array.from({ length: n * d }, () => (uniform() < 0.5 ? 1 : 0));
  for (let t = T; t > 1; t--) {
    path[t - 1] = new Uint8Array(n * d);
    for (let k = 0; k < n * d; k += d) {
      const rates = reverseRates(path[t].subarray(k, k + d), tau[t - 1], tau[t], net);
      for (let i = 0; i < d; i++) path[t - 1][k + i] = uniform() < rates[i] ? 1 : 0;
    }
  }
  const flip = sigmoid(-evidence(tau[1]));
  path[0] = path[1].map((bit) => (uniform() < flip ? 1 - bit : bit));
  return path;
}

/** Whether string k of x (flat) is a heartbeat: ones at every `period`-th place, and nowhere else. */
export function isHeartbeat(x, k, d, period) {
  for (let phase = 0; phase < period; phase++) {
    let fits = true;
    for (let i = 0; i < d && fits; i++) fits = x[k * d + i] === (i % period === phase ? 1 : 0);
    if (fits) return true;
  }
  return false;
}

// --- The exact bound of the best reverse kernel of independent bits, for the heartbeat ---

const choose = (n, k) => (k === 0 ? 1 : (choose(n, k - 1) * (n - k + 1)) / k);

/** The kinds of string: ones in each group, sorted, with how many strings are of the kind. */
export function heartbeatKinds(period, size) {
  const kinds = [];
  const grow = (ones) => {
    if (ones.length < period) {
      for (let n = ones.at(-1) ?? 0; n <= size; n++) grow([...ones, n]);
      return;
    }
    let orders = 1;
    ones.forEach((n, i) => {
      const same = ones.slice(0, i + 1).filter((m) => m === n).length;
      orders *= (i + 1) / same;
    });
    kinds.push({ ones, count: ones.reduce((all, n) => all * choose(size, n), orders) });
  };
  grow([]);
  return kinds;
}

const entropyOf = (on, off) => -(on > 0 ? on * Math.log(on) : 0) - (off > 0 ? off * Math.log(off) : 0);

/** Entropy of a bit with this log-odds, nats. */
const bitEntropy = (logit) => entropyOf(sigmoid(logit), sigmoid(-logit));

/**
 * K of the best reverse kernel of independent bits, and its losses, nats, for tau_0 = 0 < tau_1 < ... < tau_T.
 * K = -log period - edge - end - sum of steps. `kl` and `steps` are indexed by t; 0 and 1 stay 0.
 */
export function exactBits(tau, kinds, period, size) {
  const T = tau.length - 1;
  const d = period * size;
  const kl = new Float64Array(T + 1);
  const information = new Float64Array(T + 1);
  const entropy = new Float64Array(T + 1);
  const weight = new Float64Array(period);
  for (let t = 1; t <= T; t++) {
    const own = evidence(tau[t]);
    const [step, start] = [stepEvidence(tau[t - 1], tau[t]), evidence(tau[t - 1])];
    const [kept, lost] = [-softplus(-own), -softplus(own)];
    for (const { ones, count } of kinds) {
      const all = ones.reduce((sum, n) => sum + n, 0);
      const agree = ones.map((n) => d - size - all + 2 * n);
      const most = Math.max(...agree);
      const total = agree.reduce((sum, a) => sum + Math.exp((a - most) * own), 0);
      agree.forEach((a, j) => (weight[j] = Math.exp((a - most) * own) / total));
      const logP = most * kept + (d - most) * lost + Math.log(total / period); // of one such string
      const p = count * Math.exp(logP);
      entropy[t] -= p * logP;
      if (t === 1) continue;
      let cost = 0;
      for (const sign of [1, -1]) {
        const [one, zero] = [sign * step + start, sign * step - start];
        const [h1, h0] = [bitEntropy(one), bitEntropy(zero)];
        for (let j = 0; j < period; j++) {
          const bits = sign > 0 ? ones[j] : size - ones[j];
          if (bits === 0) continue;
          const [w, rest] = [weight[j], 1 - weight[j]];
          const on = w * sigmoid(one) + rest * sigmoid(zero);
          const off = w * sigmoid(-one) + rest * sigmoid(-zero);
          cost += bits * (entropyOf(on, off) - w * h1 - rest * h0);
        }
      }
      kl[t] += p * cost;
    }
    information[t] = entropy[t] - d * bitEntropy(own);
  }
  const steps = kl.map((value, t) => (t < 2 ? 0 : value - (information[t - 1] - information[t])));
  const edge = entropy[1] - Math.log(period);
  const end = d * Math.LN2 - entropy[T];
  const apart = steps.reduce((sum, v) => sum + v, 0);
  return { kl, steps, edge, end, apart, K: -Math.log(period) - edge - end - apart };
}

/** tau_0..tau_T of alpha_bar_t = (1 - beta_1) f((t - 1) / (T - 1)), f linear between `knots` at even places. */
export function bentTau(T, beta1, knots) {
  const tau = new Float64Array(T + 1);
  for (let t = 1; t <= T; t++) {
    const place = ((t - 1) / (T - 1)) * (knots.length - 1);
    const before = Math.min(Math.floor(place), knots.length - 2);
    const kept = knots[before] + (place - before) * (knots[before + 1] - knots[before]);
    // 1 / ((1 - beta_1) kept) - 1, without cancellation where kept is 1
    tau[t] = kept > 0 ? (1 - kept + beta1 * kept) / ((1 - beta1) * kept) : Infinity;
  }
  return tau;
}
