// Steps from 1 to 64 against the exact distance to the data: paths, solvers, and maps that jump.

import { controls, html, keys, openFigure, renew, title } from "./common.js";
import { distanceTo, multistep, NORMAL, PATHS, solve, tableOf } from "./flows.js";
import { histogram } from "./histogram.js";
import { lineDensity } from "./mixture.js";
import { openPlot, power, scales, short, text } from "./plot.js";
import { live } from "./view.js";

// --- Numbers. ---

export const STEPS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

/** Where a method takes the places x of N(0, 1) with so many calls. */
export function ends(method, calls, x, target) {
  const { path, heun } = METHODS[method];
  if (method === "2m") return multistep(x, calls, target);
  return solve(x, heun ? Math.ceil(calls / 2) : calls, { target, source: NORMAL, path: PATHS[path] }, heun).at(-1);
}

export const METHODS = {
  linear: { words: "Euler, linear path (= DDIM)", path: "linear", ink: "data" },
  cosine: { words: "Euler, cosine path", path: "cosine", ink: "model" },
  heun: { words: "Heun, linear path", path: "linear", heun: true, ink: "muted" },
  "2m": { words: "DPM-Solver++ (2M), levels of the linear path", path: "linear", ink: "drift" },
};

// --- The figure. ---

const PLACES = 1501;
const SIDE = 2.9;
const BARS = 87;
const FLOOR = 1e-4;
const DATA = {
  "two clumps": { centers: [-1.2, 0.9], weights: [0.35, 0.65], variance: 0.1 },
  "three clumps": { centers: [-1.5, 0.3, 1.2], weights: [0.3, 0.5, 0.2], variance: 0.04 },
  "one normal, variance 1": { centers: [0], weights: [1], variance: 1 },
  "one normal, variance 0.3": { centers: [0], weights: [1], variance: 0.3 },
};

function render({ model, el }) {
  const figure = openFigure(model, el, "fewsteps");
  const students = model.get("students");
  let place = STEPS.indexOf(model.get("steps"));
  let method = model.get("method");
  let data = Object.keys(DATA)[0];
  let curves;
  const table = tableOf(NORMAL, PLACES);

  const hill = openPlot(figure, "dpm-hill-of-points", "What the method draws, exactly, and the data’s density");
  const chart = openPlot(figure, "dpm-errors", "Exact distance to the data against calls, one curve for each method");
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const distance = (key, calls) =>
    Math.max(1e-12, distanceTo(DATA[data], ends(key, calls, table.x, DATA[data]), table.cdf));

  function compute() {
    curves = Object.fromEntries(Object.keys(METHODS).map((key) => [key, STEPS.map((calls) => distance(key, calls))]));
    figure.redraw();
  }
  function drawHill() {
    const x = ends(method, STEPS[place], table.x, DATA[data]);
    const wide = (2 * SIDE) / BARS;
    const bars = new Float64Array(BARS);
    for (let i = 1; i < x.length; i++) {
      // each piece of mass, spread evenly between where its ends came
      const mass = table.cdf[i] - table.cdf[i - 1];
      const [low, high] = [Math.min(x[i], x[i - 1]), Math.max(x[i], x[i - 1])];
      const first = Math.floor((low + SIDE) / wide);
      const last = Math.floor((high + SIDE) / wide);
      for (let k = Math.max(0, first); k <= Math.min(BARS - 1, last); k++) {
        const within = Math.min(high, -SIDE + (k + 1) * wide) - Math.max(low, -SIDE + k * wide);
        bars[k] += (mass * (high > low ? within / (high - low) : 1)) / wide;
      }
    }
    histogram(hill, bars, (v) => lineDensity(v, 0, DATA[data]), SIDE, 1.4);
  }
  function drawChart() {
    const margins = { left: 44, right: 12, top: 8, bottom: 34, foot: 18 };
    const plot = scales(chart, margins, [1, 64], [FLOOR, 2], { log: "xy", held: "y" });
    const curve = (key) =>
      plot.curve(`dpm-law dpm-ink-${METHODS[key].ink}${key === method ? " dpm-chosen" : ""}`, curves[key], (v, i) => [
        STEPS[i],
        v,
      ]);
    const jump = (row) => plot.curve("dpm-law dpm-ink-limit dpm-dashed", row);
    renew(
      chart,
      ...plot.rows([1e-4, 1e-3, 0.01, 0.1, 1], (v) => power(Math.round(Math.log10(v)))),
      ...plot.marks([1, 2, 4, 8, 16, 32, 64]),
      text((plot.left + plot.end) / 2, plot.height - 2, "calls"),
      plot.upright(STEPS[place]),
      ...Object.keys(METHODS).map(curve),
      ...Object.values(students[data] ?? {}).map(jump),
      plot.dot(`dpm-dot dpm-ink-${METHODS[method].ink}`, STEPS[place], curves[method][place], 5),
    );
  }
  figure.draw = () => {
    drawHill();
    drawChart();
    const off = curves[method][place];
    const jumps = Object.entries(students[data] ?? {});
    const words = jumps.map(([key, row]) => `${key}: ${row.map(([n, v]) => `${short(v)} in ${n}`).join(", ")}`);
    detail.textContent =
      `${METHODS[method].words}, ${STEPS[place]} ${STEPS[place] > 1 ? "calls" : "call"}: ` +
      `${off < 1e-6 ? "exact" : `${short(off)} from the data`}. ` +
      (words.length ? `${words.join("; ")}.` : "");
    Object.assign(figure.root.dataset, { method, calls: STEPS[place], data, off, t: place });
  };

  const who = figure.chooser({
    label: "Method",
    options: Object.entries(METHODS).map(([key, { words }]) => [key, words]),
    value: method,
    set: (value) => (method = value),
  });
  const count = figure.slider({
    label: "Calls",
    min: 0,
    max: STEPS.length - 1,
    value: place,
    format: (value) => String(STEPS[value]),
    set: (value) => (place = value),
  });
  const choice = figure.chooser({
    label: "Data",
    options: Object.keys(DATA),
    value: data,
    set: (value) => (data = value),
    after: compute,
  });
  figure.add(
    title("Exact distance to the data", " Wasserstein, no draws"),
    chart,
    keys({
      ...Object.fromEntries(Object.values(METHODS).map(({ ink, words }) => [ink, words])),
      ...(Object.keys(students).length ? { limit: "jumps to the end" } : {}),
    }),
    controls(who, count, choice),
    title("What it draws", " and the data’s density"),
    hill,
    detail,
  );
  compute();
  return figure.close;
}

export default live(render);
