// A law of short strings, by enumeration: what is seen of a string, what that says of the rest, and entropies of all subsets.
// A string is an array of d tokens 0..S-1; S stands for [MASK]. A set of places is a number, bit i for place i. Nats.

/** From { letters, strings, chances } to { letters, rows, chances, d, S }. */
export function readLaw({ letters, strings, chances }) {
  const all = [...letters];
  const rows = strings.map((words) => Array.from(words, (letter) => all.indexOf(letter)));
  return { letters: all, rows, chances, d: rows[0].length, S: all.length };
}

/** A string as words; `gap` stands for a masked token. */
export const spelled = (law, state, gap = "[MASK]") => state.map((token) => law.letters[token] ?? gap).join("");

/** How the rows of a law are seen at `state`: their chances where they agree with all that is not masked, 0 elsewhere. */
export const agreeing = ({ rows, chances, S }, state) =>
  rows.map((row, k) => (state.every((token, i) => token === S || token === row[i]) ? chances[k] : 0));

/** P(token i = v | what is seen), [i][v]; null where what is seen has probability 0. */
export function conditionals(law, state) {
  const weights = agreeing(law, state);
  const total = weights.reduce((a, b) => a + b, 0);
  if (!(total > 0)) return null;
  const found = Array.from({ length: law.d }, () => new Array(law.S).fill(0));
  law.rows.forEach((row, k) => {
    if (weights[k]) row.forEach((token, i) => (found[i][token] += weights[k] / total));
  });
  return found;
}

/** The place in `weights` at which a uniform number falls. */
export function choose(weights, u) {
  let height = u * weights.reduce((a, b) => a + b, 0);
  let last = -1;
  for (let k = 0; k < weights.length; k++) {
    if (!(weights[k] > 0)) continue;
    last = k;
    height -= weights[k];
    if (height < 0) return k;
  }
  return last;
}

export const sizeOfSet = (set) => {
  let count = 0;
  for (let rest = set; rest; rest &= rest - 1) count++;
  return count;
};

/** P(the tokens in a set are those of row k), [set][k], for all 2^d sets. */
export function subsetChances({ rows, chances, d }) {
  return Array.from({ length: 2 ** d }, (_, set) => {
    const sums = new Map();
    const keys = rows.map((row) => row.filter((_, i) => (set >> i) & 1).join());
    keys.forEach((key, k) => sums.set(key, (sums.get(key) ?? 0) + chances[k]));
    return keys.map((key) => sums.get(key));
  });
}

/** H(the tokens in a set), for all sets. */
export const subsetEntropies = ({ chances }, seen) =>
  seen.map((row) => row.reduce((sum, p, k) => sum - chances[k] * Math.log(p), 0));

/** The mean over sets of m places of H(the tokens in it), m = 0..d. */
export function meanEntropies(d, entropies) {
  const sums = new Array(d + 1).fill(0);
  const counts = new Array(d + 1).fill(0);
  entropies.forEach((h, set) => {
    const m = sizeOfSet(set);
    sums[m] += h;
    counts[m] += 1;
  });
  return sums.map((sum, m) => sum / counts[m]);
}

/** What one more token holds when m others are seen, on average over all of them: its entropy, m = 0..d-1. */
export function staircase(d, entropies) {
  const means = meanEntropies(d, entropies);
  return means.slice(1).map((h, m) => h - means[m]);
}

/** The chances of 0..n successes in n trials at rate u. */
export function binomial(n, u) {
  const found = [1];
  for (let trial = 0; trial < n; trial++) {
    for (let m = trial + 1; m >= 0; m--) found[m] = (found[m] ?? 0) * (1 - u) + (m ? found[m - 1] * u : 0);
  }
  return found;
}

/** The masked cross-entropy at rate u: sum over tokens of E[-log P(token | others seen at rate u)]; from a staircase. */
export const curveAt = (steps, u) =>
  steps.length * binomial(steps.length - 1, u).reduce((sum, p, m) => sum + p * steps[m], 0);

/** Its integral from 0 to u: the entropy of what is seen at rate u, on average. */
export function areaTo(steps, u) {
  const chances = binomial(steps.length, u);
  let beyond = 0;
  let sum = 0;
  for (let m = steps.length; m > 0; m--) {
    beyond += chances[m]; // m or more are seen
    sum += beyond * steps[m - 1];
  }
  return sum;
}
