// Tokens of a string drawn k at once, each from its own conditional law: the law that comes out, exactly, and what it costs.
// Nats. Twins of these functions are in the tests, by brute force.

import { choose, conditionals, meanEntropies, sizeOfSet, subsetEntropies } from "./stringlaw.js";

const sum = (values) => values.reduce((a, b) => a + b, 0);

/** How many tokens each step draws. */
export const blocks = (d, k) => Array.from({ length: Math.ceil(d / k) }, (_, n) => Math.min(k, d - n * k));

const placesOf = (set, d) => Array.from({ length: d }, (_, i) => i).filter((i) => (set >> i) & 1);

/** The n masked places whose likeliest token has the highest probability; of equals the leftmost. As a set. */
function surest(law, state, n) {
  const chances =
    conditionals(law, state) ??
    conditionals(
      law,
      state.map(() => law.S),
    );
  const masked = state.flatMap((token, i) => (token === law.S ? [[Math.max(...chances[i]), i]] : []));
  masked.sort(([a, i], [b, j]) => (Math.abs(a - b) > 1e-12 ? b - a : i - j));
  return masked.slice(0, n).reduce((set, [, i]) => set | (1 << i), 0);
}

/** P(each token of `block` | those of `set`) multiplied, for row r. */
const apart = (seen, set, block, r, d) =>
  placesOf(block, d).reduce((p, i) => p * (seen[set | (1 << i)][r] / seen[set][r]), 1);

function byRandom(law, seen, k) {
  const { d, rows } = law;
  const all = 2 ** d - 1;
  const sets = Array.from({ length: all + 1 }, (_, set) => set);
  const after = new Map([[all, rows.map(() => 1)]]); // the chance to draw what row r has outside a set, once that is seen
  for (let a = Math.floor((d - 1) / k) * k; a >= 0; a -= k) {
    const size = Math.min(k, d - a);
    const ofSize = sets.filter((set) => sizeOfSet(set) === size);
    for (const set of sets.filter((one) => sizeOfSet(one) === a)) {
      const next = ofSize.filter((block) => !(block & set));
      const place = (r) => sum(next.map((block) => apart(seen, set, block, r, d) * after.get(set | block)[r]));
      after.set(
        set,
        rows.map((_, r) => place(r) / next.length),
      );
    }
  }
  const means = meanEntropies(d, subsetEntropies(law, seen));
  let a = 0;
  const steps = blocks(d, k).map((count) => {
    const need = means[a + count] - means[a];
    const cost = count * (means[a + 1] - means[a]) - need;
    a += count;
    return { count, need, cost };
  });
  return { drawn: after.get(0), steps };
}

function byConfidence(law, seen, k) {
  const { d, S, rows, chances } = law;
  const steps = blocks(d, k).map((count) => ({ count, need: 0, cost: 0 }));
  const drawn = rows.map((row, r) => {
    let set = 0;
    let chance = 1;
    for (const step of steps) {
      const block = surest(
        law,
        row.map((token, i) => ((set >> i) & 1 ? token : S)),
        step.count,
      );
      const one = apart(seen, set, block, r, d);
      const need = -Math.log(seen[set | block][r] / seen[set][r]);
      step.need += chances[r] * need;
      step.cost += chances[r] * (-Math.log(one) - need);
      chance *= one;
      set |= block;
    }
    return chance;
  });
  return { drawn, steps };
}

/**
 * What comes of drawing k tokens at once, at random or in the order of "confidence": `drawn`, the chance of each row of the law
 * (what is left to 1 goes to strings that the law does not have); `steps` [{ count, need, cost }]: the entropy of the tokens of a
 * step given those before, and the information that they have of each other, which is lost.
 */
export const decoded = (law, seen, k, order) => (order === "random" ? byRandom : byConfidence)(law, seen, k);

/** D(law || drawn). */
export const divergence = ({ chances }, drawn) => sum(chances.map((p, r) => p * Math.log(p / drawn[r])));

/** One string drawn so: { state, isPossible }. Where what is seen cannot be, each token has the law that it has alone. */
export function drawString(law, k, order, uniform) {
  const state = new Array(law.d).fill(law.S);
  let isPossible = true;
  for (const count of blocks(law.d, k)) {
    const known = conditionals(law, state);
    isPossible &&= known !== null;
    const chances = known ?? conditionals(law, new Array(law.d).fill(law.S));
    const masked = state.flatMap((token, i) => (token === law.S ? [i] : []));
    const chosen =
      order === "random" ? shuffled(masked, uniform).slice(0, count) : placesOf(surest(law, state, count), law.d);
    for (const i of chosen) state[i] = choose(chances[i], uniform());
  }
  return { state, isPossible: isPossible && conditionals(law, state) !== null };
}

export function shuffled(items, uniform) {
  const rest = [...items];
  return items.map(() => rest.splice(Math.floor(uniform() * rest.length), 1)[0]);
}
