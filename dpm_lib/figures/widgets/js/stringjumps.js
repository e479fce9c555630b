// A string whose tokens jump, each alone: the forward rates Q, the law at a time t, the exact reversed rates, and paths.

import { agreeing, choose } from "./stringlaw.js";

const LEFT = 0.01; // of the signal, at t = 1, by the uniform kernel
const END = 1e-6; // the last time before t = 0 or t = 1 where a rate has no end
const NODES = 400;

/** alphaBar(t), the rate beta(t) at which a token is struck, and K(x, y, S, alphaBar), a token's chances at t given at 0. */
export const KERNELS = {
  mask: {
    end: 1 - END,
    alphaBar: (t) => 1 - t,
    beta: (t) => 1 / (1 - t),
    chance: (x, y, S, kept) => (y === S ? 1 - kept : x === y ? kept : 0),
    /** Q from token x to token y, at beta = 1. */
    rate: (x, y, S) => (y === S && x !== S ? 1 : 0),
  },
  uniform: {
    end: 1,
    alphaBar: (t) => 1 - (1 - LEFT) * t,
    beta: (t) => (1 - LEFT) / (1 - (1 - LEFT) * t),
    chance: (x, y, S, kept) => (y === S ? 0 : (x === y ? kept : 0) + (1 - kept) / S),
    rate: (x, y, S) => (x !== y && x !== S && y !== S ? 1 / S : 0),
  },
};

/** The chance of each row of a law to be the start, together with `state` at t. */
function together({ rows, chances, S }, kernel, state, t) {
  const kept = kernel.alphaBar(t);
  return rows.map((row, k) => row.reduce((p, x, i) => p * kernel.chance(x, state[i], S, kept), chances[k]));
}

/** p_t(state). */
export const chanceAt = (law, kernel, state, t) => together(law, kernel, state, t).reduce((a, b) => a + b, 0);

/** The rates at which token i jumps to v, [i][v] with v = 0..S, forward. */
export function forwardRates({ S }, kernel, state, t) {
  const beta = kernel.beta(t);
  return state.map((x) => Array.from({ length: S + 1 }, (_, y) => beta * kernel.rate(x, y, S)));
}

/** The same backward: Q_ji p_j / p_i, where j is `state` with token i made v. */
export function reversedRates(law, kernel, state, t) {
  const { rows, S } = law;
  const [kept, beta] = [kernel.alphaBar(t), kernel.beta(t)];
  const weights = together(law, kernel, state, t);
  const here = weights.reduce((a, b) => a + b, 0);
  return state.map((now, i) =>
    Array.from({ length: S + 1 }, (_, v) => {
      const rate = beta * kernel.rate(v, now, S);
      if (!rate) return 0;
      // p_j over p_i: each start's weight, with token i seen as v instead
      let there = 0;
      rows.forEach((row, k) => {
        if (weights[k]) there += weights[k] * (kernel.chance(row[i], v, S, kept) / kernel.chance(row[i], now, S, kept));
      });
      return rate * (there / here);
    }),
  );
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

/**
 * A path by clocks: each token has one, set to an exponential time, whose hand moves at the token's rate; at its alarm the token
 * jumps, to v with a chance in proportion to the rate to v. `grid` are times; a rate times `stretch(t)` changes slowly along it,
 * and the hands move by the mean of both ends of a cell.
 * Returns { events: [{ t, i, from, to }], states, hands: [{ t, shares }] }: `shares` of the way to each alarm.
 */
function run(start, grid, rates, uniform) {
  const state = [...start];
  const events = [];
  const alarms = state.map(() => -Math.log(uniform()));
  const moved = state.map(() => 0);
  const hands = [{ t: grid.times[0], shares: moved.slice() }];
  const note = (t) => hands.push({ t, shares: moved.map((way, i) => Math.min(1, way / alarms[i])) });
  const pace = (t) => rates(state, t).map((row) => sum(row) * grid.stretch(t));
  let before = pace(grid.times[0]);
  for (let g = 1; g < grid.times.length; g++) {
    let at = grid.at[g - 1];
    for (;;) {
      const after = pace(grid.times[g]);
      const ways = before.map((speed, i) => ((speed + after[i]) / 2) * (grid.at[g] - at));
      let share = 1;
      let first = -1;
      ways.forEach((way, i) => {
        const needed = (alarms[i] - moved[i]) / way;
        if (way > 0 && needed < share) [share, first] = [needed, i];
      });
      ways.forEach((way, i) => (moved[i] += share * way));
      at += share * (grid.at[g] - at);
      if (first < 0) {
        before = after;
        break;
      }
      const t = grid.time(at);
      moved[first] = alarms[first];
      note(t);
      const to = choose(rates(state, t)[first], uniform());
      events.push({ t, i: first, from: state[first], to });
      state[first] = to;
      moved[first] = 0;
      alarms[first] = -Math.log(uniform());
      note(t);
      before = pace(t);
    }
    note(grid.times[g]);
  }
  return { start: [...start], events, hands, end: state };
}

/** Times forward, even in -log(alphaBar): each token is struck at rate 1 in it. */
function forwardGrid(kernel, nodes) {
  const last = -Math.log(kernel.alphaBar(kernel.end));
  const low = kernel.alphaBar(1) || 0;
  const time = (at) => (1 - Math.exp(-at)) / (1 - low);
  const at = Array.from({ length: nodes + 1 }, (_, g) => (last * g) / nodes);
  return { at, time, times: at.map(time), stretch: (t) => 1 / kernel.beta(t) };
}

/** Times backward, even in -log(t), in which the rates back to data are nearly constant. */
function backwardGrid(kernel, nodes) {
  const first = -Math.log(kernel.end);
  const last = -Math.log(END);
  const time = (at) => Math.exp(-at);
  const at = Array.from({ length: nodes + 1 }, (_, g) => first + ((last - first) * g) / nodes);
  return { at, time, times: at.map(time), stretch: (t) => t };
}

/** A path from data to t = 1, and on from there back to t = 0, by the exact reversed rates. */
export function thereAndBack(law, kernel, uniform, nodes = NODES) {
  const start = law.rows[choose(law.chances, uniform())];
  const there = run(start, forwardGrid(kernel, nodes), (state, t) => forwardRates(law, kernel, state, t), uniform);
  if (kernel === KERNELS.mask) finish(there, kernel.end, () => law.S);
  const back = run(there.end, backwardGrid(kernel, nodes), (state, t) => reversedRates(law, kernel, state, t), uniform);
  if (kernel === KERNELS.mask) {
    const row = law.rows[choose(agreeing(law, back.end), uniform())];
    finish(back, END, (i) => row[i], law.S);
  }
  return { there, back };
}

/** The jumps of tokens whose clock had not rung at the end of the grid: once in a million. */
function finish(path, t, to, only = null) {
  path.end.forEach((from, i) => {
    if (from === to(i) || (only !== null && from !== only)) return;
    path.events.push({ t, i, from, to: to(i) });
    path.end[i] = to(i);
  });
}

/** The string of a path after its jumps before `t`, going forward, or back. */
export function stringAt({ start, events }, t, back = false) {
  const state = [...start];
  for (const event of events) {
    if (back ? event.t < t : event.t > t) break;
    state[event.i] = event.to;
  }
  return state;
}

/** The hands of the clocks at `t`, as shares of the way to their alarms. */
export function handsAt({ hands }, t, back = false) {
  const isPast = (hand) => (back ? hand.t >= t : hand.t <= t);
  let low = 0;
  let high = hands.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (isPast(hands[middle])) low = middle;
    else high = middle;
  }
  const [one, next] = [hands[low], hands[Math.min(low + 1, hands.length - 1)]];
  const part = next.t === one.t ? 0 : Math.min(1, Math.max(0, (t - one.t) / (next.t - one.t)));
  return one.shares.map((share, i) => share + part * (next.shares[i] - share));
}
