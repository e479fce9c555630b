// A rate matrix to edit: the law forward, the function backward, and the chain reversed by Bayes.

import { attribute, clamp, controls, html, openFigure, renew } from "./common.js";
import { drawCourse, matrixGrid, showGraph, square } from "./grid.js";
import { minus, openPlot } from "./plot.js";
import { live } from "./view.js";

// --- Numbers: Q is an array of rows, each summing to 0. ---

const product = (A, B) => A.map((row) => B[0].map((_, j) => row.reduce((sum, a, k) => sum + a * B[k][j], 0)));

/** exp(Q t) by a series without a minus sign over a short time, squared as often as needed. */
export function transition(Q, t) {
  const n = Q.length;
  const rate = Math.max(...Q.map((row, i) => -row[i])) || 1;
  const halvings = Math.max(0, Math.ceil(Math.log2(rate * t)) || 0);
  const rings = (rate * t) / 2 ** Math.max(0, halvings);
  const P = Q.map((row, i) => row.map((q, j) => q / rate + (i === j ? 1 : 0)));
  let term = Q.map((_, i) => Q.map((_, j) => (i === j ? Math.exp(-rings) : 0)));
  let total = term;
  for (let k = 1; k < 20; k++) {
    term = product(term, P).map((row) => row.map((v) => (v * rings) / k));
    total = total.map((row, i) => row.map((v, j) => v + term[i][j]));
  }
  for (let k = 0; k < halvings; k++) {
    total = product(total, total).map((row) => {
      const sum = row.reduce((a, b) => a + b, 0);
      return row.map((v) => v / sum);
    });
  }
  return n ? total : [];
}

/** The laws p_s and the functions u_s(i) = Pr(X_T = target | X_s = i) at s = 0, dt, ..., steps * dt = T. */
export function bothWays(Q, p0, target, dt, steps) {
  const P = transition(Q, dt);
  const laws = [p0];
  const functions = [p0.map((_, i) => (i === target ? 1 : 0))];
  for (let k = 0; k < steps; k++) {
    laws.push(product([laws[k]], P)[0]);
    functions.unshift(P.map((row) => row.reduce((sum, value, j) => sum + value * functions[0][j], 0)));
  }
  return { laws, functions };
}

/** Bayes: Pr(X_s = i | X_T = target) = p_s(i) u_s(i) / Pr(X_T = target), for each s; null where that is 0. */
export function reversedLaws({ laws, functions }) {
  return laws.map((law, k) => {
    const joint = law.map((p, i) => p * functions[k][i]);
    const total = joint.reduce((a, b) => a + b, 0);
    return total > 0 ? joint.map((value) => value / total) : null;
  });
}

/** The rates of the reversed chain, R_ij = Q_ji p_j / p_i; NaN in the rows of states that are never met. */
export function reverseRates(Q, p) {
  return Q.map((_, i) => {
    const row = p.map((pj, j) => (i === j ? 0 : p[i] > 0 ? (Q[j][i] * pj) / p[i] : NaN));
    row[i] = -row.reduce((a, b) => a + b, 0);
    return row;
  });
}

/** Q with the rate from i to j set, and its row made to sum to 0 again. */
export function setRate(Q, i, j, rate) {
  const changed = Q.map((row) => row.slice());
  changed[i][j] = rate;
  changed[i][i] = 0;
  changed[i][i] = 0 - changed[i].reduce((a, b) => a + b, 0); // not -0
  return changed;
}

// --- The figure. ---

const MOST = 3; // the largest rate one can set
const STEPS = 120;

function rateWords(rate) {
  if (Number.isNaN(rate)) return "–";
  if (Math.abs(rate) >= 99.5) return "≫";
  return rate === 0 ? "0" : minus(rate.toFixed(Math.abs(rate) < 9.95 ? 2 : 0));
}
const chanceWords = (p) => (p === 0 ? "0" : p.toFixed(2));
const list = (values) => `(${values.map((v) => v.toFixed(3)).join(", ")})`;
const sum = (values) => values.reduce((a, b) => a + b, 0);

function render({ model, el }) {
  const figure = openFigure(model, el, "rates");
  const presets = Object.fromEntries(model.get("presets"));
  const horizon = model.get("horizon");
  let Q;
  let n;
  let name;
  let start;
  let target;
  let ways;
  let back;
  let k = STEPS / 4;
  let reverse = false;

  const about = "The chain as a graph; the thicker an arrow, the faster; the fuller a circle, the likelier the state";
  const graph = square("dpm-graph", about);
  const editor = square("dpm-matrix", "The rate matrix Q, one row per state", "group");
  const other = square("dpm-circle", null);
  const course = openPlot(figure, "dpm-course", null);
  const legend = html("p", { class: "dpm-detail dpm-keys" });
  const now = html("p", { class: "dpm-detail dpm-now" });

  const rates = matrixGrid(editor, {
    title: () => "Q",
    name: (i, j) => `Rate from ${i + 1} to ${j + 1}`,
    change: (i, j, value) => {
      Q = setRate(Q, i, j, value);
      preset.select.value = "your own";
      update();
    },
    most: MOST,
    step: 0.1,
    fixed: (i, j) => i === j,
    format: rateWords,
  });
  const shown = { forward: chanceWords, back: (share) => rateWords(share * MOST) }; // boxes are full at 1
  const side = matrixGrid(other, {
    title: () => (reverse ? "R" : "P"),
    most: 1,
    fixed: () => true,
    format: (value) => shown[reverse ? "back" : "forward"](value),
  });

  function load(chosen) {
    name = chosen;
    Q = presets[name].map((row) => row.slice());
    n = Q.length;
    start = clamp(start ?? -1, -1, n - 1);
    target = Math.min(target ?? n - 1, n - 1);
    rates.make(n);
    side.make(n);
    const states = Q.map((_, i) => html("option", { value: i }, `state ${i + 1}`));
    end.select.replaceChildren(...states);
    begin.select.replaceChildren(
      html("option", { value: -1 }, "a mixture"),
      ...states.map((option) => option.cloneNode(true)),
    );
    begin.select.value = start;
    end.select.value = target;
    update();
  }
  /** The law at 0: one state for certain, or an uneven mixture in which no state has probability 0. */
  const firstLaw = () => {
    const weights = Q.map((_, i) => (start < 0 ? 3 ** -i : i === start ? 1 : 0));
    return weights.map((w) => w / sum(weights));
  };
  function update() {
    ways = bothWays(Q, firstLaw(), target, horizon / STEPS, STEPS);
    back = reversedLaws(ways);
    rates.show(Q);
    moveTo(k);
  }
  function moveTo(index) {
    k = index;
    time.set(k);
    figure.redraw();
  }

  const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => share * STEPS);
  const format = (step) => (step === 0 ? "s = 0" : Number(((step / STEPS) * horizon).toFixed(2)));
  figure.draw = () => {
    const s = (k * horizon) / STEPS;
    const law = ways.laws[k];
    const u = ways.functions[k];
    const r = back[k];
    const R = reverseRates(Q, law);
    showGraph(
      graph,
      (reverse ? R : Q).map((row, i) => row.map((q, j) => (i === j ? 0 : clamp(q / MOST, 0, 1) || 0))),
      reverse ? (r ?? law.map(() => 0)) : law,
    );
    side.show(reverse ? R.map((row) => row.map((q) => q / MOST)) : transition(Q, s));
    other.setAttribute(
      "aria-label",
      reverse ? "The rates of the reversed chain at time s" : "The matrix P(s) = exp(Q s)",
    );
    const series = [
      [ways.functions, "dpm-dashed"],
      [reverse ? back : ways.laws, ""],
    ];
    drawCourse(course, { last: STEPS, now: k, marks, format }, series);
    const solid = reverse ? "Solid: the law of the reversed chain, started at T" : "Solid: the law, forward";
    attribute(course, "aria-label", `${solid}; dashed: the function, backward; one colour per state`);
    const seen = `Pr(X_T = ${target + 1})`;
    const words = [
      reverse ? `solid: the reversed chain, Pr(X_s = i | X_T = ${target + 1})` : "solid: forward, p_s(i) = Pr(X_s = i)",
      `dashed: backward, u_s(i) = Pr(X_T = ${target + 1} | X_s = i)`,
      `matrices: Q, and ${reverse ? "the reversed rates R(s)" : "P(s) = exp(Q s)"}`,
    ];
    renew(legend, ...words.map((each) => html("span", {}, each)));
    now.textContent = reverse
      ? `At s = ${s.toFixed(2)}: reversed law ${r ? `${list(r)}, sum ${sum(r).toFixed(3)}` : "none, since that end has probability 0"}. u = ${list(u)}, sum ${sum(u).toFixed(3)}${Math.abs(sum(u) - 1) > 0.001 ? ": not a law" : ""}.`
      : `At s = ${s.toFixed(2)}: p = ${list(law)}, sum ${sum(law).toFixed(3)}. u = ${list(u)}. Σ p u = ${sum(law.map((p, i) => p * u[i])).toFixed(4)} = ${seen} at every s.`;
    Object.assign(figure.root.dataset, { k, reverse, name });
  };

  const names = Object.keys(presets);
  const preset = figure.presetChooser({ label: "Chain", names, set: load });
  const begin = figure.chooser({
    label: "Start in",
    options: [],
    value: "",
    set: (value) => (start = Number(value)),
    after: update,
  });
  const end = figure.chooser({
    label: "End asked about",
    options: [],
    value: "",
    set: (value) => (target = Number(value)),
    after: update,
  });
  const turn = figure.checkbox({ label: "Reverse", set: (on) => (reverse = on) });
  const time = figure.slider({
    wide: true,
    label: "s",
    min: 0,
    max: STEPS,
    value: k,
    format: (value) => ((value * horizon) / STEPS).toFixed(2),
    set: moveTo,
  });
  const play = figure.playSteps(
    () => 24,
    (count) => {
      const next = k + (reverse ? -count : count);
      moveTo(next > STEPS ? 0 : next < 0 ? STEPS : next);
    },
  );
  figure.keep(
    "Q",
    () => Q,
    (rows) => {
      Q = rows.map((row, i) => row.map((v, j) => (i === j ? 0 : clamp(v, 0, MOST))));
      Q.forEach((row, i) => (row[i] = -sum(row)));
      update();
    },
  );
  figure.add(
    controls(preset, begin, end, turn),
    html("div", { class: "dpm-three" }, graph, editor, other),
    course,
    controls(play, time),
    legend,
    now,
  );
  load(names[0]);
  return figure.close;
}

export default live(render);
