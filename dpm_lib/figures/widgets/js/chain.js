// A Markov chain to edit: its graph, its matrix, its eigenvalues in the unit circle, and its law over time.

import { clamp, controls, html, openFigure, renew } from "./common.js";
import { drawCourse, matrixGrid, showGraph, square } from "./grid.js";
import { circle, line, openPlot, text } from "./plot.js";
import { totalVariation } from "./probability.js";
import { live } from "./view.js";

// --- Numbers: P is an array of rows, each summing to 1. ---

/** The recurrent classes, as sorted lists of states, from which states each state can reach. */
export function recurrentClasses(P) {
  const n = P.length;
  const reach = P.map((row, i) => row.map((p, j) => p > 0 || i === j));
  for (let k = 0; k < n; k++)
    for (let i = 0; i < n; i++) if (reach[i][k]) for (let j = 0; j < n; j++) reach[i][j] ||= reach[k][j];
  const states = P.map((_, i) => i);
  const recurrent = states.filter((i) => states.every((j) => !reach[i][j] || reach[j][i]));
  const first = recurrent.filter((i) => !recurrent.some((j) => j < i && reach[i][j]));
  return first.map((i) => states.filter((j) => reach[i][j]));
}

const gcd = (a, b) => (b ? gcd(b, a % b) : Math.abs(a));

/** The greatest common divisor of the lengths of the loops within a class. */
export function period(P, states) {
  const depth = new Map([[states[0], 0]]);
  const queue = [states[0]];
  let common = 0;
  for (const i of queue) {
    for (const j of states) {
      if (!(P[i][j] > 0)) continue;
      if (depth.has(j)) common = gcd(common, depth.get(i) + 1 - depth.get(j));
      else {
        depth.set(j, depth.get(i) + 1);
        queue.push(j);
      }
    }
  }
  return common;
}

/** The stationary law that lives on one recurrent class, by elimination without subtraction. */
export function stationary(P, states) {
  const m = states.length;
  const A = states.map((i) => states.map((j) => P[i][j]));
  for (let k = m - 1; k > 0; k--) {
    const out = A[k].slice(0, k).reduce((a, b) => a + b, 0);
    for (let i = 0; i < k; i++) A[i][k] /= out;
    for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) A[i][j] += A[i][k] * A[k][j];
  }
  const weight = [1];
  for (let k = 1; k < m; k++) weight.push(weight.reduce((sum, w, i) => sum + w * A[i][k], 0));
  const total = weight.reduce((a, b) => a + b, 0);
  const pi = new Array(P.length).fill(0);
  states.forEach((i, k) => (pi[i] = weight[k] / total));
  return pi;
}

/** One step: the row vector p times the matrix P. */
export const stepLaw = (p, P) => P.map((_, j) => p.reduce((sum, value, i) => sum + value * P[i][j], 0));

/** The laws at times 0, ..., steps. */
export function lawsOverTime(P, p0, steps) {
  const laws = [p0];
  for (let t = 0; t < steps; t++) laws.push(stepLaw(laws[t], P));
  return laws;
}

/**
 * The eigenvalues [re, im] of a stochastic matrix; the first is 1.
 *
 * The coefficients of det(z - P) by the method of Faddeev and Le Verrier; the known root 1 is divided out; the others are
 * found all at once by the iteration of Durand and Kerner. Good for a handful of states, as here.
 */
export function eigenvalues(P) {
  const n = P.length;
  const coefficients = [1]; // of z^n, z^(n-1), ...
  let M = P.map((row) => row.slice());
  for (let k = 1; k <= n; k++) {
    if (k > 1) {
      M.forEach((row, i) => (row[i] += coefficients[k - 1]));
      const previous = M;
      M = P.map((row) => row.map((_, j) => row.reduce((sum, p, l) => sum + p * previous[l][j], 0)));
    }
    coefficients.push(-M.reduce((sum, row, i) => sum + row[i], 0) / k);
  }
  const rest = [1];
  for (let k = 1; k < n; k++) rest.push(rest[k - 1] + coefficients[k]);
  return [[1, 0], ...roots(rest).sort((a, b) => Math.hypot(...b) - Math.hypot(...a))];
}

/** All roots [re, im] of a polynomial with leading coefficient 1, highest power first. */
export function roots(coefficients) {
  const degree = coefficients.length - 1;
  const z = Array.from({ length: degree }, (_, k) => [0.9 * Math.cos(2.4 * k + 0.7), 0.9 * Math.sin(2.4 * k + 0.7)]);
  const times = ([a, b], [c, d]) => [a * c - b * d, a * d + b * c];
  for (let turn = 0; turn < 500; turn++) {
    let moved = 0;
    for (let k = 0; k < degree; k++) {
      const value = coefficients.slice(1).reduce(
        (sum, c) => {
          const [re, im] = times(sum, z[k]);
          return [re + c, im];
        },
        [1, 0],
      );
      let below = [1, 0];
      for (let l = 0; l < degree; l++) if (l !== k) below = times(below, [z[k][0] - z[l][0], z[k][1] - z[l][1]]);
      const size = below[0] ** 2 + below[1] ** 2;
      if (size === 0) {
        z[k] = [z[k][0] + 1e-9, z[k][1] + 1e-9]; // two guesses met: part them
        moved = 1;
        continue;
      }
      const [re, im] = times(value, [below[0] / size, -below[1] / size]);
      z[k] = [z[k][0] - re, z[k][1] - im];
      moved = Math.max(moved, Math.hypot(re, im));
    }
    if (moved < 1e-15) break;
  }
  return z.map(([re, im]) => (Math.abs(im) < 1e-9 ? [re, 0] : [re, im]));
}

/** The row with entry j set to `value` and the others scaled, or filled evenly if all were 0; it sums to 1. */
export function setEntry(row, j, value) {
  const wanted = clamp(value, 0, 1);
  const others = row.reduce((sum, p, k) => (k === j ? sum : sum + p), 0);
  const changed = row.map((p, k) => {
    if (k === j) return wanted;
    return others > 0 ? (p * (1 - wanted)) / others : (1 - wanted) / (row.length - 1);
  });
  const total = changed.reduce((a, b) => a + b, 0);
  return changed.map((p) => p / total);
}

/** A probability for a small box: two decimals, more where it is small. */
export const shown = (p) => (p === 0 ? "0" : p >= 0.1 ? p.toFixed(2) : p.toFixed(4).replace(/0{1,2}$/, ""));

/** What the graph says in words, the law it tends to (or null), and |lambda_2|. */
export function describeChain(P) {
  const classes = recurrentClasses(P);
  const values = eigenvalues(P);
  const names = classes.map((states) => `{${states.map((i) => i + 1).join(", ")}}`).join(" and ");
  if (classes.length > 1) {
    return {
      values,
      pi: null,
      second: 1,
      ergodic: false,
      words: `Reducible: ${classes.length} recurrent classes, ${names}; the start is never quite forgotten.`,
    };
  }
  const pi = stationary(P, classes[0]);
  const loops = period(P, classes[0]);
  if (loops > 1)
    return {
      values,
      pi,
      second: 1,
      ergodic: false,
      words: `Periodic, with period ${loops}: the law goes round and round.`,
    };
  const second = Math.hypot(...(values[1] ?? [0, 0]));
  const part = classes[0].length < P.length ? ` All probability ends in ${names}.` : "";
  return {
    values,
    pi,
    second,
    ergodic: true,
    words: `Ergodic: it forgets by a factor |λ₂| = ${second.toFixed(3)} a step in the long run.${part}`,
  };
}

// --- The figure. ---

function render({ model, el }) {
  const figure = openFigure(model, el, "chain");
  const presets = Object.fromEntries(model.get("presets"));
  const steps = model.get("steps");
  let P;
  let n;
  let start;
  let about;
  let laws;
  let t = 0;

  const graph = square("dpm-graph", "The chain as a graph; the fuller a circle, the likelier the state");
  const grid = square("dpm-matrix", "The matrix P, one row per state", "group");
  const disc = square("dpm-circle", "Eigenvalues in the unit circle");
  const label = "The probability of each state over time, dashed: the stationary law";
  const course = openPlot(figure, "dpm-course", label);
  const detail = html("p", { class: "dpm-detail", "aria-live": "polite" });
  const now = html("p", { class: "dpm-detail dpm-now" });

  const { make: makeGrid, show: showGrid } = matrixGrid(grid, {
    title: () => "P",
    name: (i, j) => `Probability from ${i + 1} to ${j + 1}`,
    change: (i, j, value) => {
      P[i] = setEntry(P[i], j, value);
      preset.select.value = "your own";
      update();
    },
    format: shown,
  });

  function load(chosen) {
    P = presets[chosen].map((row) => row.slice());
    const before = n;
    n = P.length;
    start = Math.min(start ?? 0, n - 1);
    makeGrid(n);
    if (n !== before) listStarts();
    t = 0;
    update();
  }
  function listStarts() {
    begin.select.replaceChildren(...P.map((_, i) => html("option", { value: i }, `state ${i + 1}`)));
    begin.select.value = start;
  }
  function update() {
    about = describeChain(P);
    const first = P.map((_, i) => (i === start ? 1 : 0));
    laws = lawsOverTime(P, first, steps);
    showGrid(P);
    moveTo(t);
  }
  function moveTo(time) {
    t = time;
    clockSlider.set(t);
    figure.redraw();
  }

  // --- Drawing ---

  function drawDisc() {
    renew(
      disc,
      line(10, 120, 230, 120, "dpm-grid"),
      line(120, 10, 120, 230, "dpm-grid"),
      circle("dpm-unit-circle", 120, 120, 100),
      about.ergodic ? circle("dpm-ring", 120, 120, 100 * about.second) : "",
      ...about.values.map(([re, im], k) => circle(k ? "dpm-eigenvalue" : "dpm-one", 120 + 100 * re, 120 - 100 * im, 6)),
      text(214, 138, "1"),
      text(120, 236, "eigenvalues of P"),
    );
  }
  const marks = [0, 10, 20, 30, 40].filter((s) => s <= steps);
  const format = (s) => (s === 0 ? "t = 0" : s);
  figure.draw = () => {
    showGraph(graph, P, laws[t]);
    drawDisc();
    drawCourse(course, { last: steps, now: t, marks, format }, [[laws, ""]], about.pi ?? []);
    detail.textContent = about.words;
    const law = laws[t].map((p) => p.toFixed(3)).join(", ");
    const away = about.pi ? ` Total variation distance from π: ${totalVariation(laws[t], about.pi).toFixed(4)}.` : "";
    const target = about.pi
      ? ` π = (${about.pi.map((p) => p.toFixed(3)).join(", ")}).`
      : " There is no one π to tend to.";
    now.textContent = `p at t = ${t}: (${law}).${target}${away}`;
    Object.assign(figure.root.dataset, { t, second: about.second, ergodic: about.ergodic });
  };

  // --- Controls ---

  const names = Object.keys(presets);
  const preset = figure.presetChooser({ label: "Chain", names, set: load });
  const begin = figure.chooser({
    label: "Start in",
    options: [],
    value: "",
    set: (value) => (start = Number(value)),
    after: update,
  });
  const clockSlider = figure.slider({ wide: true, label: "t", min: 0, max: steps, value: 0, set: moveTo });
  const play = figure.playSteps(
    () => 5,
    () => moveTo(t >= steps ? 0 : t + 1),
  );
  figure.keep(
    "P",
    () => P,
    (rows) => {
      const sums = rows.map((row) => row.reduce((sum, v) => sum + Math.max(v, 0), 0));
      if (sums.some((sum) => sum <= 0)) return;
      P = rows.map((row, i) => row.map((v) => Math.max(v, 0) / sums[i]));
      update();
    },
  );
  figure.add(
    controls(preset, begin),
    html("div", { class: "dpm-three" }, graph, grid, disc),
    detail,
    course,
    controls(play, clockSlider),
    now,
  );
  load(names[0]);
  return figure.close;
}

export default live(render);
