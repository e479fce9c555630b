// Two things timed on a machine that drifts: in blocks, in turns, in mirrored turns. What each order makes of it.
// Twin: dpm_lib.probability.comparisons.

import { button, clamp, controls, fillNormals, html, keys, openFigure, renew, title, uniforms } from "./common.js";
import { evenly, fixed, openPlot, rect, scales, text } from "./plot.js";
import { live } from "./view.js";

// --- Numbers. An order is -1 for each run of A, 1 for each of B; readings are logarithms of cost. ---

export const ORDERS = {
  blocks: (level) => Array.from({ length: 2 ** level }, (_, k) => (2 * k < 2 ** level ? -1 : 1)),
  turns: (level) => Array.from({ length: 2 ** level }, (_, k) => (k % 2 ? 1 : -1)),
  mirrored(level) {
    let order = [-1];
    for (let i = 0; i < level; i++) order = [...order, ...order.map((sign) => -sign)];
    return order;
  },
};

/** The mean reading of B less that of A. */
export const contrast = (order, readings) =>
  (2 / order.length) * order.reduce((sum, sign, k) => sum + sign * readings[k], 0);

/** Variance of the contrast of a walk with unit steps. */
export function walkVariance(order) {
  let [after, total] = [0, 0];
  for (let k = order.length - 1; k > 0; k--) {
    after += order[k];
    total += after * after;
  }
  return total * (2 / order.length) ** 2;
}

/** The median of B over A, pair by pair: the i-th run of each. */
export function medianOfPairs(order, readings) {
  const [a, b] = [-1, 1].map((side) => readings.filter((_, k) => order[k] === side));
  const pairs = a.map((value, i) => b[i] - value).sort((x, y) => x - y);
  return 0.5 * (pairs[Math.floor((pairs.length - 1) / 2)] + pairs[Math.ceil((pairs.length - 1) / 2)]);
}

export const MACHINES = {
  slowing: { words: "slows down steadily", slope: 0.02 },
  wandering: { words: "wanders", step: 0.06 },
  interrupted: { words: "is interrupted", chance: 0.15 },
  calm: { words: "is calm" },
};
const NOISE = 0.03;

/** What the machine adds to each of `n` readings, and the part of it that is slow. */
export function disturbed(machine, n, uniform) {
  const { slope = 0, step = 0, chance = 0 } = MACHINES[machine];
  const normals = fillNormals(new Float64Array(2 * n), uniform);
  let at = 0;
  const slow = Array.from({ length: n }, (_, k) => {
    at += k ? slope + step * normals[2 * k] : 0;
    return at;
  });
  const hit = () => (uniform() < chance ? Math.log(1.3 + 1.7 * uniform()) : 0);
  return { slow, all: slow.map((v, k) => v + NOISE * normals[2 * k + 1] + hit()) };
}

/** Mean and standard deviation of the contrast, in closed form; null where the machine is interrupted. */
export function expected(machine, order, truth) {
  const { slope = 0, step = 0, chance = 0 } = MACHINES[machine];
  if (chance) return null;
  const line = order.map((_, k) => slope * k);
  const variance = (4 / order.length) * NOISE ** 2 + step ** 2 * walkVariance(order);
  return { mean: truth + contrast(order, line), sd: Math.sqrt(variance) };
}

// --- The figure. ---

const TIMES = 1000; // experiments
const BARS = 60;
const SIDE = Math.log(2);
const WORDS = {
  blocks: "In blocks: first all of A, then all of B",
  turns: "In turns: ABAB…",
  mirrored: "In mirrored turns: ABBA BAAB …",
};
const HOW = { mean: "mean of logarithms", median: "median of the pairs" };

function render({ model, el }) {
  const figure = openFigure(model, el, "turns");
  const { root } = figure;
  let machine = model.get("machine");
  let level = 1 + Math.round(Math.log2(model.get("runs")));
  let truth = model.get("ratio");
  let how = "mean";
  let seed = 1;
  let found;

  const rows = Object.entries(ORDERS).map(([name, orderOf]) => ({
    name,
    orderOf,
    strip: openPlot(figure, "dpm-runs", `${WORDS[name]}: one experiment, run by run`),
    hill: openPlot(figure, "dpm-ratios-found", `${WORDS[name]}: the ratios that ${TIMES} experiments find`),
    detail: html("p", { class: "dpm-detail", role: "status" }),
  }));

  function compute() {
    const cost = Math.log(truth);
    found = rows.map(({ orderOf }) => {
      const uniform = uniforms(seed);
      const order = orderOf(level);
      const one = how === "mean" ? contrast : medianOfPairs;
      let first;
      const ratios = Float64Array.from({ length: TIMES }, () => {
        const { slow, all } = disturbed(machine, order.length, uniform);
        const readings = all.map((v, k) => v + (order[k] > 0 ? cost : 0));
        first ??= { slow, readings };
        return one(order, readings);
      }).sort();
      return { order, first, ratios, expected: how === "mean" ? expected(machine, order, cost) : null };
    });
    figure.redraw();
  }

  function drawStrip(node, { order, first }) {
    const n = order.length;
    const [low, high] = [Math.min(-0.2, ...first.readings) - 0.06, Math.max(0.3, ...first.readings)];
    const plot = scales(node, { left: 2, right: 2, top: 7, bottom: 16 }, [-0.5, n - 0.5], [low, high]);
    const r = clamp(plot.width / n / 3, 2, 6);
    renew(
      node,
      plot.curve("dpm-slow", first.slow, (v, k) => [k, v]),
      ...order.map((sign, k) => plot.dot(`dpm-run-of dpm-ink-${sign < 0 ? "data" : "model"}`, k, first.readings[k], r)),
      plot.axis(),
      ...(n <= 16 ? order.map((sign, k) => text(plot.x(k), plot.height - 3, sign < 0 ? "A" : "B")) : []),
      ...(n > 16 ? [text(plot.width / 2, plot.height - 3, `${n} runs`)] : []),
    );
  }
  function drawHill(node, { ratios }) {
    const counts = new Float64Array(BARS);
    for (const v of ratios) counts[clamp(Math.floor(((v + SIDE) / (2 * SIDE)) * BARS), 0, BARS - 1)]++;
    const plot = scales(node, { left: 2, right: 2, top: 4, bottom: 16 }, [0.5, 2], [0, Math.max(...counts)], {
      log: "x",
    });
    const edges = evenly(-SIDE, SIDE, BARS).map(Math.exp);
    renew(
      node,
      ...Array.from(counts, (c, i) =>
        rect(
          "dpm-found",
          plot.x(edges[i]) + 0.3,
          plot.y(c),
          plot.x(edges[i + 1]) - plot.x(edges[i]) - 0.6,
          plot.floor - plot.y(c),
        ),
      ),
      plot.axis(),
      plot.upright(truth, "dpm-true-ratio dpm-ink-limit"),
      ...plot.marks([0.5, 0.7, 1, 1.4, 2], String, (v) => (v === 0.5 ? "start" : v === 2 ? "end" : "middle")),
    );
  }
  figure.draw = () => {
    rows.forEach(({ strip, hill, detail }, i) => {
      drawStrip(strip, found[i]);
      drawHill(hill, found[i]);
      const { ratios, expected: exact } = found[i];
      const at = (share) => Math.exp(ratios[Math.round(share * (TIMES - 1))]);
      const formula = exact
        ? ` By the formulas, centre ${fixed(Math.exp(exact.mean), 2)}, standard deviation ${fixed(exact.sd)} of the logarithm.`
        : "";
      detail.textContent = `Middle ${fixed(at(0.5), 2)}; nineteen in twenty between ${fixed(at(0.025), 2)} and ${fixed(at(0.975), 2)}.${formula}`;
    });
    Object.assign(root.dataset, { machine, runs: 2 ** (level - 1), how, seed });
  };

  const whichMachine = figure.chooser({
    label: "The machine",
    options: Object.entries(MACHINES).map(([name, { words }]) => [name, words]),
    value: machine,
    set: (value) => (machine = value),
    after: compute,
  });
  const count = figure.slider({
    label: "Runs of each",
    min: 1,
    max: 6,
    value: level,
    format: (value) => String(2 ** (value - 1)),
    set: (value) => (level = value),
    after: compute,
  });
  const ratio = figure.slider({
    label: "True ratio B/A",
    min: 0.7,
    max: 1.4,
    step: 0.05,
    value: truth,
    format: (value) => fixed(value, 2),
    set: (value) => (truth = value),
    after: compute,
  });
  const estimate = figure.chooser({
    label: "Ratio by",
    options: Object.entries(HOW),
    value: how,
    set: (value) => (how = value),
    after: compute,
  });
  figure.keep(
    "draws",
    () => seed,
    (value) => {
      seed = clamp(Math.round(value), 1, 1e6);
      compute();
    },
  );
  figure.add(
    controls(
      whichMachine,
      count,
      ratio,
      estimate,
      button("New draws", () => (seed += 1), compute),
    ),
    keys({ data: "a run of A", model: "a run of B", muted: "what the machine does slowly", limit: "the true ratio" }),
    ...rows.map(({ name, strip, hill, detail }) =>
      html("div", {}, title(WORDS[name]), html("div", { class: "dpm-two" }, strip, hill), detail),
    ),
  );
  compute();
  return figure.close;
}

export default live(render);
