// A walk between two wells: its exact law, a crowd of walkers, and the distance from the law it tends to.

import { button, controls, html, keys, openFigure, renew, uniforms } from "./common.js";
import { minus, openPlot, power, scales, text } from "./plot.js";
import { totalVariation } from "./probability.js";
import { live } from "./view.js";

// --- Numbers. Matrices are flat, row by row. ---

/** The places, energies, stationary law and matrix of the walk; the twin of dpm_lib.markov.markov_chains.double_well. */
export function doubleWell(n, barrier) {
  const x = Array.from({ length: n }, (_, i) => -1.3 + (2.6 * i) / (n - 1));
  const energy = x.map((v) => barrier * (1 - v * v) ** 2);
  const weight = energy.map((u) => Math.exp(-u));
  const total = weight.reduce((a, b) => a + b, 0);
  const P = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    P[i * n + i] = 1;
    for (const j of [i - 1, i + 1]) {
      if (j < 0 || j >= n) continue;
      P[i * n + j] = 0.25 * Math.min(1, Math.exp(energy[i] - energy[j]));
      P[i * n + i] -= P[i * n + j];
    }
  }
  return { x, energy, pi: weight.map((w) => w / total), P };
}

/** 1 - lambda_2 of a reversible tridiagonal chain, by bisection on the number of eigenvalues above a value. */
export function tridiagonalGap(P, n) {
  // The eigenvalues of 1 - P below `gap`, counted by the signs of the pivots of the symmetric matrix 1 - P - gap.
  const below = (gap) => {
    let pivot = 1;
    let count = 0;
    for (let i = 0; i < n; i++) {
      const left = i > 0 ? P[i * n + i - 1] : 0;
      const right = i < n - 1 ? P[i * n + i + 1] : 0;
      const square = i > 0 ? left * P[(i - 1) * n + i] : 0;
      pivot = left + right - gap - (i > 0 ? square / pivot : 0);
      if (pivot === 0) pivot = 1e-300;
      if (pivot < 0) count += 1;
    }
    return count;
  };
  let low = 0;
  let high = 2;
  for (let turn = 0; turn < 200 && high - low > 1e-15 * high; turn++) {
    const middle = low > 1e-14 ? Math.sqrt(low * high) : (low + high) / 2;
    if (below(middle) >= 2) high = middle;
    else low = middle;
  }
  return (low + high) / 2;
}

export function squareMatrix(A, n) {
  const B = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let k = 0; k < n; k++) {
      const a = A[i * n + k];
      if (a !== 0) for (let j = 0; j < n; j++) B[i * n + j] += a * A[k * n + j];
    }
  return B;
}

/** Times 0, 1, ..., 8, then four to each doubling, up to 2^octaves: each lies a power of two after the last. */
export function clockTimes(octaves) {
  const times = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  for (let k = 3; k < octaves; k++) for (let part = 1; part <= 4; part++) times.push(2 ** k + part * 2 ** (k - 2));
  return times;
}

/**
 * The law (flat, n per time) and the distance from pi at each time; and the walkers' counts, if there are any.
 * All begin in the places `starts`, with equal shares.
 */
export function histories(P, n, pi, starts, times, walkers = 0, seed = 0) {
  const laws = new Float64Array(times.length * n);
  const counts = new Float64Array(times.length * n);
  const distance = new Float64Array(times.length);
  const at = Int32Array.from({ length: walkers }, (_, w) => starts[w % starts.length]);
  const uniform = uniforms(seed);
  for (const start of starts) laws[start] = 1 / starts.length;
  for (const start of at) counts[start] += 1;
  let power = P;
  let reach = 1;
  times.forEach((time, k) => {
    if (k > 0) {
      for (const gap = time - times[k - 1]; reach < gap; reach *= 2) power = squareMatrix(power, n);
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) laws[k * n + j] += laws[(k - 1) * n + i] * power[i * n + j];
      for (let w = 0; w < walkers; w++) {
        at[w] = draw(power, n, at[w], uniform());
        counts[k * n + at[w]] += 1;
      }
    }
    distance[k] = totalVariation(laws.subarray(k * n, (k + 1) * n), pi);
  });
  return { laws, counts, distance };
}

function draw(P, n, row, u) {
  let sum = 0;
  for (let j = 0; j < n; j++) {
    sum += P[row * n + j];
    if (u < sum) return j;
  }
  return row; // rounding only: the row sums to 1
}

// --- The figure. ---

const WALKERS = 400;

function render({ model, el }) {
  const figure = openFigure(model, el, "wells");
  const n = model.get("n");
  const times = clockTimes(model.get("octaves"));
  let barrier = model.get("barrier");
  let from = "left";
  let k = 0;
  let seed = 0;
  let chain;
  let gap;
  let past;

  const hills = openPlot(figure, "dpm-hills", "Walkers, their law, and the stationary law, place by place");
  const fall = openPlot(figure, "dpm-distance", "Total variation distance against time on a logarithmic scale");
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const nearest = (x) => Math.round(((x + 1.3) / 2.6) * (n - 1));
  const starts = { left: [nearest(-1)], top: [n / 2 - 1, n / 2], right: [nearest(1)] }; // n is even: two places share the top

  function update() {
    chain = doubleWell(n, barrier);
    gap = tridiagonalGap(chain.P, n);
    past = histories(chain.P, n, chain.pi, starts[from], times, WALKERS, seed);
    figure.redraw();
  }
  function moveTo(place) {
    k = place;
    clockSlider.set(k);
    figure.redraw();
  }

  const MARGINS = { left: 34, right: 10, top: 8, bottom: 20 };
  function drawHills() {
    const top = Math.max(0.25, 1.15 * Math.max(...chain.pi));
    const plot = scales(hills, MARGINS, [-0.5, n - 0.5], [0, top], { held: "y" });
    const steep = Math.max(...chain.energy, 1e-9) / Math.min(1, barrier / 4);
    const counts = past.counts.subarray(k * n, (k + 1) * n);
    renew(
      hills,
      plot.curve("dpm-hill", chain.energy, (u, i) => [i, (0.9 * top * u) / steep]),
      ...Array.from(counts, (number, i) => plot.bar("dpm-walkers", i - 0.42, i + 0.42, number / WALKERS)),
      plot.curve("dpm-exact", past.laws.subarray(k * n, (k + 1) * n), (p, i) => [i, p]),
      plot.curve("dpm-target", chain.pi, (p, i) => [i, p]),
      plot.axis(),
      ...[starts.left[0], (n - 1) / 2, starts.right[0]].map((i, k) => text(plot.x(i), plot.height - 4, minus(k - 1))),
      ...[0, 0.2].map((p) => text(plot.left - 5, plot.y(p) + 4, p, "end")),
    );
  }
  function drawFall() {
    const plot = scales(fall, MARGINS, [1, times.at(-1) + 1], [0, 1], { log: "x" });
    const tens = Array.from({ length: 8 }, (_, k) => 10 ** k).filter((t) => t <= times.at(-1));
    const slowest = (t) => 0.5 * Math.exp(t * Math.log1p(-gap));
    renew(
      fall,
      ...plot.rows([0, 0.5, 1]),
      ...tens.map((t, k) => text(plot.x(t + 1), plot.height - 4, k < 3 ? t : power(k))),
      plot.curve("dpm-target", times, (t) => [t + 1, slowest(t)]),
      plot.curve("dpm-exact", times, (t, i) => [t + 1, past.distance[i]]),
      plot.upright(times[k] + 1),
    );
  }
  const count = (value) =>
    value < 1e5 ? Math.round(value).toLocaleString("en") : value.toExponential(1).replace("e+", " × 10^");
  figure.draw = () => {
    drawHills();
    drawFall();
    const right = Array.from(past.counts.subarray(k * n + Math.ceil(n / 2), (k + 1) * n)).reduce((a, b) => a + b, 0);
    detail.textContent =
      `t = ${count(times[k])} steps: ${right} of ${WALKERS} walkers are on the right. Distance from π: ${past.distance[k].toFixed(4)}. ` +
      `Spectral gap ${minus(gap.toExponential(2))}: forgetting takes about ${count(1 / gap)} steps.`;
    Object.assign(figure.root.dataset, { t: times[k], gap, distance: past.distance[k] });
  };

  const hill = figure.slider({
    label: "Barrier",
    min: 0,
    max: 12,
    step: 0.5,
    value: barrier,
    format: (value) => value.toFixed(1),
    set: (value) => (barrier = value),
    after: update,
  });
  const begin = figure.chooser({
    label: "Start",
    options: [
      ["left", "in the left well"],
      ["top", "on top of the hill"],
      ["right", "in the right well"],
    ],
    value: from,
    set: (value) => (from = value),
    after: update,
  });
  const again = button("New walkers", () => (seed += 1), update);
  const clockSlider = figure.slider({
    wide: true,
    label: "Time",
    min: 0,
    max: times.length - 1,
    value: 0,
    format: (place) => `t = ${count(times[place])}`,
    set: moveTo,
  });
  const play = figure.playSteps(
    () => 8,
    () => moveTo(k >= times.length - 1 ? 0 : k + 1),
  );
  figure.add(
    controls(hill, begin, again),
    hills,
    keys({ model: "400 walkers", data: "their exact law p_t", limit: "stationary law π", muted: "energy" }),
    controls(play, clockSlider),
    detail,
    fall,
    keys({ data: "distance of p_t from π", limit: "½ |λ₂| to the power t" }),
  );
  update();
  return figure.close;
}

export default live(render);
