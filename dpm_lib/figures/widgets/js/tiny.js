// Three coupled bits, diffused, and a model of them: every path listed, every line of the bound summed. Nats.
// Twins: dpm_lib.exact.enumeration.coupled_bits, dpm_lib.exact.bound_derivation.lines and account.

const BITS = 3;
export const S = 2 ** BITS;
const bit = (state, i) => (state >> (BITS - 1 - i)) & 1;
const states = Array.from({ length: S }, (_, i) => i);
const total = (values) => values.reduce((sum, v) => sum + v, 0);

/** Each bit of the state is thrown anew with probability beta, by a coin that shows 1 with probability `coin`. */
export function flipKernel(beta, coin) {
  const one = (from, to) => beta * (to ? coin : 1 - coin) + (from === to ? 1 - beta : 0);
  return states.map((a) =>
    states.map((b) => {
      let p = 1;
      for (let i = 0; i < BITS; i++) p *= one(bit(a, i), bit(b, i));
      return p;
    }),
  );
}

function times(A, B) {
  return A.map((row) => states.map((j) => total(row.map((a, k) => a * B[k][j]))));
}

/** A row of laws with its bits made independent. */
function product(law) {
  const ones = Array.from({ length: BITS }, (_, i) => total(law.map((p, x) => (bit(x, i) ? p : 0))));
  return states.map((x) => ones.reduce((p, one, i) => p * (bit(x, i) ? one : 1 - one), 1));
}

/** The two chains: data, prior, forward[t][i][j], leaps[t][i][j], marginals[t][i], reverse[t][j][i], by index t. */
export function coupledBits({ coupling, field, coin, beta, error, joint }) {
  const spin = (x, i) => 2 * bit(x, i) - 1;
  const raw = states.map((x) => {
    let energy = 0;
    for (let i = 0; i < BITS; i++) energy += field * spin(x, i) + (i ? coupling * spin(x, i - 1) * spin(x, i) : 0);
    return Math.exp(energy);
  });
  const data = raw.map((v) => v / total(raw));
  const T = beta.length;
  const identity = states.map((i) => states.map((j) => Number(i === j)));
  const forward = [identity, ...beta.map((b) => flipKernel(b, coin))];
  const leaps = [identity];
  for (let t = 1; t <= T; t++) leaps.push(times(leaps[t - 1], forward[t]));
  const marginals = leaps.map((leap) => states.map((j) => total(data.map((p, i) => p * leap[i][j]))));
  const blur = flipKernel(error, 0.5);
  const reversals = [identity];
  const reverse = [identity, forward[1]];
  for (let t = 1; t <= T; t++) {
    reversals.push(
      states.map((j) => {
        const row = states.map((i) => marginals[t - 1][i] * forward[t][i][j]);
        const sum = total(row);
        return row.map((v) => v / sum);
      }),
    );
    if (t > 1) reverse.push(times(joint ? reversals[t] : reversals[t].map(product), blur));
  }
  return { T, data, prior: flipKernel(1, coin)[0], forward, leaps, marginals, reversals, reverse };
}

/** The lines of the derivation, [{ terms: [[name, value], ...], value }, ...], line n at n - 1, by a sum over all paths. */
export function ledger(chains) {
  const { T, data, prior, forward, leaps, reverse } = chains;
  const sums = {};
  const spread = new Float64Array(11); // the largest difference between a path's value on line n and on line n - 1
  const add = (name, value) => {
    sums[name] = (sums[name] ?? 0) + value;
  };
  const x = new Uint8Array(T + 1);
  const weights = new Float64Array(S); // E[w | x_0]
  for (let path = 0; path < S ** (T + 1); path++) {
    for (let t = 0, rest = path; t <= T; t++, rest = Math.floor(rest / S)) x[t] = rest % S;
    let ahead = 1; // q(x_1..x_T | x_0)
    let back = prior[x[T]];
    for (let t = 1; t <= T; t++) {
      ahead *= forward[t][x[t - 1]][x[t]];
      back *= reverse[t][x[t]][x[t - 1]];
    }
    const q = data[x[0]] * ahead;
    weights[x[0]] += ahead * (back / ahead);
    const logW = Math.log(back / ahead);
    const logPrior = Math.log(prior[x[T]]);
    const edge = Math.log(prior[x[0]] / prior[x[1]]);
    let [line4, line5, line7] = [logPrior, logPrior + edge, logPrior + edge];
    add("log w", q * logW);
    add("prior", q * logPrior);
    add("edge", q * edge);
    for (let t = 1; t <= T; t++) {
      const step = Math.log(reverse[t][x[t]][x[t - 1]] / forward[t][x[t - 1]][x[t]]);
      add(`step ${t}`, q * step);
      line4 += step;
      if (t === 1) continue;
      line5 += step;
      const posterior = (leaps[t - 1][x[0]][x[t - 1]] * forward[t][x[t - 1]][x[t]]) / leaps[t][x[0]][x[t]];
      const behind = Math.log(reverse[t][x[t]][x[t - 1]] / posterior);
      const turn = Math.log(leaps[t - 1][x[0]][x[t - 1]] / leaps[t][x[0]][x[t]]);
      add(`back ${t}`, q * behind);
      add(`turn ${t}`, q * turn);
      line7 += behind + turn;
    }
    for (const [n, gap] of [
      [4, line4 - logW],
      [5, line5 - line4],
      [6, 0],
      [7, line7 - line5],
    ]) {
      spread[n] = Math.max(spread[n], Math.abs(gap));
    }
  }
  for (let t = 2; t <= T; t++) sums[`KL ${t}`] = -stepKL(chains, t);
  sums["entropy T"] = entropyGivenStart(chains, T);
  sums["entropy 1"] = -entropyGivenStart(chains, 1);
  sums["log p"] = total(data.map((p, i) => p * Math.log(modelLaw(chains)[i])));
  sums["log E w"] = total(data.map((p, i) => p * Math.log(weights[i])));
  sums["prior entropy"] = total(prior.map((p) => p * Math.log(p)));
  const steps = (name, first) => Array.from({ length: T + 1 - first }, (_, i) => `${name} ${first + i}`);
  const names = [
    ["log p"],
    ["log E w"],
    ["log w"],
    ["prior", ...steps("step", 1)],
    ["prior", "edge", ...steps("step", 2)],
    ["prior", "edge", ...steps("step", 2)],
    ["prior", "edge", ...steps("back", 2), ...steps("turn", 2)],
    ["prior", "edge", ...steps("back", 2), "entropy T", "entropy 1"],
    ["prior", "edge", ...steps("KL", 2), "entropy T", "entropy 1"],
    ["prior entropy", ...steps("KL", 2), "entropy T", "entropy 1"],
  ];
  return names.map((line, i) => {
    const terms = line.map((name) => [name, sums[name]]);
    return { terms, value: total(terms.map(([, value]) => value)), spread: spread[i + 1] };
  });
}

/** p(x_0), by matrix products. */
export function modelLaw({ T, prior, reverse }) {
  let law = prior;
  for (let t = T; t >= 1; t--) law = states.map((i) => total(law.map((p, j) => p * reverse[t][j][i])));
  return law;
}

function stepKL({ data, forward, leaps, reverse }, t) {
  let sum = 0;
  for (const k of states) {
    for (const j of states) {
      for (const i of states) {
        const joint = leaps[t - 1][k][i] * forward[t][i][j];
        sum += data[k] * joint * Math.log(joint / leaps[t][k][j] / reverse[t][j][i]);
      }
    }
  }
  return sum;
}

function entropyGivenStart({ data, leaps }, t) {
  return -total(data.map((p, i) => p * total(leaps[t][i].map((q) => q * Math.log(q)))));
}

/** The gap from -H(X_0) to K in two splits, and the part of each KL of line 9 that no model avoids. */
export function account(chains) {
  const { T, data, prior, marginals, reversals, reverse } = chains;
  const KL = (p, r) => total(p.map((v, i) => v * Math.log(v / r[i])));
  const lines = ledger(chains);
  const out = {
    limit: total(data.map((p) => p * Math.log(p))),
    law: KL(data, modelLaw(chains)),
    jensen: lines[1].value - lines[2].value,
    prior: KL(marginals[T], prior),
  };
  for (let t = 1; t <= T; t++) {
    out[`step ${t}`] = total(marginals[t].map((p, j) => p * KL(reversals[t][j], reverse[t][j])));
    if (t > 1) out[`information ${t}`] = stepKL(chains, t) - out[`step ${t}`];
  }
  return { lines, parts: out };
}

/** For a start x_0: the weights of its S^T paths, their probabilities q(x_1..x_T | x_0), and p(x_0). */
export function weightLaw({ T, prior, forward, reverse }, x0) {
  const count = S ** T;
  const w = new Float64Array(count);
  const q = new Float64Array(count);
  let p = 0;
  for (let path = 0; path < count; path++) {
    let [from, ahead, back] = [x0, 1, 1];
    for (let t = 1, rest = path; t <= T; t++, rest = Math.floor(rest / S)) {
      const to = rest % S;
      ahead *= forward[t][from][to];
      back *= reverse[t][to][from];
      from = to;
    }
    back *= prior[from];
    w[path] = back / ahead;
    q[path] = ahead;
    p += back;
  }
  return { w, q, p };
}
