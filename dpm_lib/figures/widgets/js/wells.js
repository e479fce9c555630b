// A walk between two wells: its exact law, a crowd of walkers, and the distance from the law it tends to.

import { button, controls, html, keys, openFigure, svg, uniforms } from "./common.js";

// --- Numbers. Matrices are flat, row by row. ---

/** The places, energies, stationary law and matrix of the walk; the twin of dpm_lib.markov.double_well. */
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
    for (let i = 0; i < n; i++) distance[k] += 0.5 * Math.abs(laws[k * n + i] - pi[i]);
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
  let clock = 0;
  let seed = 0;
  let chain;
  let gap;
  let past;

  const hills = svg("svg", {
    class: "dpm-plot dpm-hills",
    role: "img",
    "aria-label": "Walkers, their law, and the stationary law, place by place",
  });
  const fall = svg("svg", {
    class: "dpm-plot dpm-distance",
    role: "img",
    "aria-label": "Total variation distance against time on a logarithmic scale",
  });
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const text = (x, y, words, anchor = "middle") => svg("text", { x, y, "text-anchor": anchor }, words);
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

  const L = 34;
  const R = 10;
  const T = 8;
  const B = 20;
  const sizeOf = (plot) => [plot.clientWidth || 600, plot.clientHeight || 150];
  function drawHills() {
    const [width, height] = sizeOf(hills);
    const top = Math.max(0.25, 1.15 * Math.max(...chain.pi));
    const slot = (width - L - R) / n;
    const x = (i) => L + slot * (i + 0.5);
    const y = (p) => height - B - (height - T - B) * Math.min(1, p / top);
    const steep = Math.max(...chain.energy, 1e-9);
    const line = (values, kind) =>
      svg("polyline", { points: values.map((p, i) => `${x(i)},${y(p)}`).join(" "), class: kind });
    const law = Array.from(past.laws.subarray(k * n, (k + 1) * n));
    const bars = chain.pi.map((_, i) => {
      const high = y(past.counts[k * n + i] / WALKERS);
      return svg("rect", {
        x: x(i) - 0.42 * slot,
        width: 0.84 * slot,
        y: high,
        height: height - B - high,
        class: "dpm-walkers",
      });
    });
    hills.replaceChildren(
      line(
        chain.energy.map((u) => (0.9 * top * u * Math.min(1, barrier / 4)) / steep),
        "dpm-hill",
      ),
      ...bars,
      line(law, "dpm-exact"),
      line(chain.pi, "dpm-target"),
      svg("line", { x1: L, x2: width - R, y1: height - B, y2: height - B, class: "dpm-axis" }),
      text(x(starts.left[0]), height - 4, "−1"),
      text(x((n - 1) / 2), height - 4, "0"),
      text(x(starts.right[0]), height - 4, "1"),
      text(L - 5, y(0.2) + 4, "0.2", "end"),
      text(L - 5, y(0) + 4, "0", "end"),
    );
  }
  function drawFall() {
    const [width, height] = sizeOf(fall);
    const last = Math.log2(times.at(-1) + 1);
    const x = (t) => L + ((width - L - R) * Math.log2(t + 1)) / last;
    const y = (d) => T + (height - T - B) * (1 - d);
    const grid = [0, 0.5, 1].flatMap((d) => [
      svg("line", { x1: L, x2: width - R, y1: y(d), y2: y(d), class: "dpm-grid" }),
      text(L - 5, y(d) + 4, d, "end"),
    ]);
    const tens = Array.from({ length: 8 }, (_, power) => 10 ** power).filter((t) => t <= times.at(-1));
    const labels = tens.map((t, power) => text(x(t), height - 4, power < 3 ? t : `10${"⁰¹²³⁴⁵⁶⁷"[power]}`));
    const curve = (value, kind) =>
      svg("polyline", { points: times.map((t, i) => `${x(t)},${y(value(t, i))}`).join(" "), class: kind });
    fall.replaceChildren(
      ...grid,
      ...labels,
      curve((t) => 0.5 * Math.exp(t * Math.log1p(-gap)), "dpm-target"),
      curve((_t, i) => past.distance[i], "dpm-exact"),
      svg("line", { x1: x(times[k]), x2: x(times[k]), y1: T, y2: height - B, class: "dpm-axis" }),
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
      `Spectral gap ${gap.toExponential(2).replace("-", "−")}: forgetting takes about ${count(1 / gap)} steps.`;
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
  const play = figure.playButton((seconds) => {
    clock += seconds * 8;
    if (clock < 1) return;
    clock = 0;
    moveTo(k >= times.length - 1 ? 0 : k + 1);
  });
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
  figure.onResize(hills);
  figure.onResize(fall);
  return figure.close;
}

export default { render };
