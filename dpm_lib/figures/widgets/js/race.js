// A race of samplers on a mixture on the line: points that step down, and the exact law of each sampler beside them.

import {
  button,
  cleared,
  controls,
  fillNormals,
  html,
  isCalm,
  keys,
  openFigure,
  renewFor,
  sizeOf,
  title,
  uniforms,
} from "./common.js";
import { histogram } from "./histogram.js";
import { lineDensity, lineScore } from "./mixture.js";
import { openPlot, scales, short, text } from "./plot.js";
import { live } from "./view.js";

// --- Numbers; the twin is dpm_lib.diffusion.samplers. A level is its tau, and the last is 0. ---

/** What is even in a clock: its values by log tau, and back. */
const CLOCKS = {
  "log tau": [(v) => v, (v) => v],
  karras: [(v) => Math.exp(v / 14), (v) => 14 * Math.log(v)],
  sigma: [(v) => Math.exp(v / 2), (v) => 2 * Math.log(v)],
};

/** `calls` values of tau from first down to last, even in the clock, then 0. */
export function levels(calls, clock, first, last) {
  const [there, back] = CLOCKS[clock];
  const ends = [there(Math.log(first)), there(Math.log(last))];
  const taus = Float64Array.from({ length: calls + 1 }, (_, i) =>
    i === 0 ? first : Math.exp(back(ends[0] + ((ends[1] - ends[0]) * i) / Math.max(1, calls - 1))),
  );
  taus[calls] = 0;
  return taus;
}

/** Steps that so many calls allow: Heun's method takes two a step, and one for the last. */
export const stepsOf = (name, calls) => (name === "heun" ? Math.ceil(calls / 2) : calls);

/** E[x_0 | x_t = x], where tau_t = tau. */
export const guess = (x, tau, data) => {
  const z = x * Math.sqrt(1 + tau);
  return z + tau * lineScore(z, tau, data);
};

/**
 * All x from the first of `taus` to 0. `name` is "ddim", with its eta (1 is DDPM's chain), "heun" or "2m". Noise is added by
 * blur(means, width): another array. `each(x, i)` is told the states after step i.
 */
export function walk(name, taus, x, blur, eta, data, each = () => {}) {
  let old;
  let before;
  for (let i = 0; i + 1 < taus.length; i++) {
    const [t, s] = [taus[i], taus[i + 1]];
    const x0 = x.map((v) => guess(v, t, data));
    const [up, down] = [Math.sqrt(1 + t), Math.sqrt(1 + s)];
    const [sigma, next] = [Math.sqrt(t), Math.sqrt(s)];
    if (s === 0) x = x0;
    else if (name === "heun") {
      x = x.map((v, j) => {
        const z = v * up;
        const slope = (z - x0[j]) / sigma;
        const euler = z + (next - sigma) * slope;
        const after = (euler - guess(euler / down, s, data)) / next;
        return (z + 0.5 * (next - sigma) * (slope + after)) / down;
      });
    } else if (name === "2m") {
      const h = Math.log(sigma / next);
      const more = old ? (0.5 * h) / before : 0;
      const shrink = Math.exp(-h);
      x = x.map((v, j) => {
        const lead = x0[j] + (old ? more * (x0[j] - old[j]) : 0);
        return (shrink * v * up + (1 - shrink) * lead) / down;
      });
      old = x0;
      before = h;
    } else {
      const fresh = eta * eta * (1 - s / t);
      const keep = Math.sqrt(1 - fresh) * (next / sigma);
      const means = x.map((v, j) => (x0[j] + keep * (v * up - x0[j])) / down);
      x = fresh > 0 ? blur(means, (next * Math.sqrt(fresh)) / down) : means;
    }
    each(x, i);
  }
  return x;
}

// --- The figure. ---

const N = 4000;
const THREADS = 60;
const SIDE = 2.9;
const BARS = 87;
const RUNNERS = {
  ddpm: { words: "DDPM’s chain (DDIM, η = 1)", name: "ddim", eta: 1, ink: "limit" },
  "ddim 0.5": { words: "DDIM, η = 0.5", name: "ddim", eta: 0.5, ink: "model" },
  "ddim 0": { words: "DDIM, η = 0", name: "ddim", eta: 0, ink: "data" },
  heun: { words: "Heun", name: "heun", eta: 0, ink: "muted" },
  "2m": { words: "DPM-Solver++ (2M)", name: "2m", eta: 0, ink: "drift" },
};

function render({ model, el }) {
  const figure = openFigure(model, el, "race");
  const race = model.get("race");
  const all = race.calls;
  let runner = model.get("sampler");
  let place = all.indexOf(model.get("calls"));
  let clock = model.get("clock");
  let name = model.get("target");
  let seed = 1;
  let k = 0;
  let path;

  const space = figure.canvas("The paths of sixty points, from noise above to data below, one row for each step");
  const hill = openPlot(
    figure,
    "dpm-hill-of-points",
    "Histogram of 4000 points at the step shown, and the data’s density",
  );
  const chart = openPlot(
    figure,
    "dpm-errors",
    "Exact distance to the data against calls of the model, one curve for each sampler",
  );
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const target = () => race.targets[name];
  const exact = (key) => race.wasserstein[name][clock][key];
  const taus = () => levels(stepsOf(RUNNERS[runner].name, all[place]), clock, race.tau_T, race.tau_1);

  function run() {
    const uniform = uniforms(seed);
    const normals = () => fillNormals(new Float64Array(N), uniform);
    path = [normals()];
    const blur = (means, width) => {
      const kick = normals();
      return means.map((v, i) => v + width * kick[i]);
    };
    walk(RUNNERS[runner].name, taus(), path[0], blur, RUNNERS[runner].eta, target(), (x) => path.push(x));
    k = path.length - 1;
    time.range.max = k;
    time.set(k);
    figure.redraw();
  }

  const across = (v, width) => (width * (v + SIDE)) / (2 * SIDE);
  function drawSpace() {
    const context = cleared(space, figure.colours.panel);
    const pixel = devicePixelRatio;
    const { width, height } = space;
    const last = path.length - 1;
    const down = (j) => 8 * pixel + ((height - 16 * pixel) * j) / last;
    context.strokeStyle = figure.colours.line;
    context.lineWidth = pixel;
    for (let j = 0; j <= last; j++) {
      context.beginPath();
      context.moveTo(0, down(j));
      context.lineTo(width, down(j));
      context.stroke();
    }
    context.strokeStyle = figure.colours.model;
    context.globalAlpha = 0.55;
    for (let i = 0; i < THREADS; i++) {
      context.beginPath();
      for (let j = 0; j <= k; j++) context.lineTo(across(path[j][i], width), down(j));
      context.stroke();
    }
    context.globalAlpha = 0.9;
    context.fillStyle = figure.colours.model;
    for (let i = 0; i < THREADS; i++) {
      context.fillRect(across(path[k][i], width) - 1.6 * pixel, down(k) - 1.6 * pixel, 3.2 * pixel, 3.2 * pixel);
    }
  }
  function drawHill() {
    const wide = (2 * SIDE) / BARS;
    const bars = new Float64Array(BARS);
    for (const v of path[k]) {
      const bar = Math.floor((v + SIDE) / wide);
      if (bar >= 0 && bar < BARS) bars[bar] += 1 / (N * wide);
    }
    histogram(hill, bars, (v) => lineDensity(v, 0, target()), SIDE, 1.3);
  }
  function drawChart() {
    const margins = { left: 44, right: 12, top: 8, bottom: 34, foot: 18 };
    const plot = scales(chart, margins, [all[0], all.at(-1)], [1e-4, 3], { log: "xy", held: "y" });
    const curve = (key) =>
      plot.curve(`dpm-law dpm-ink-${RUNNERS[key].ink}${key === runner ? " dpm-chosen" : ""}`, exact(key), (v, i) => [
        all[i],
        v,
      ]);
    renewFor(chart, [runner, place, all, Object.keys(RUNNERS).map(exact), sizeOf(chart)], () => [
      ...plot.rows([1e-4, 1e-3, 0.01, 0.1, 1], (v) => String(v)),
      ...plot.marks([2, 5, 10, 20, 40]),
      text((plot.left + plot.end) / 2, plot.height - 2, "calls of the model"),
      plot.upright(all[place]),
      ...Object.keys(RUNNERS).map(curve),
      plot.dot(`dpm-dot dpm-ink-${RUNNERS[runner].ink}`, all[place], exact(runner)[place], 5),
    ]);
  }
  figure.draw = () => {
    if (space.width) drawSpace();
    drawHill();
    drawChart();
    const list = Array.from(taus(), (v) => (v ? short(v) : "0"));
    const shown = list.length > 9 ? [...list.slice(0, 5), "…", ...list.slice(-3)] : list;
    const distance = exact(runner)[place];
    detail.textContent =
      `${RUNNERS[runner].words}: ${path.length - 1} steps, at most ${all[place]} calls; the exact distance of its law to ` +
      `the data is ${short(distance)}. Levels τ: ${shown.join(", ")}.`;
    const shownNow = { t: k, k, runner, calls: all[place], clock, name, steps: path.length - 1, seed, exact: distance };
    Object.assign(figure.root.dataset, shownNow);
  };

  const time = figure.slider({
    wide: true,
    label: "Step",
    min: 0,
    max: all[place],
    value: 0,
    set: (value) => (k = value),
  });
  const play = figure.playSteps(
    () => (path.length - 1) / (isCalm() ? 8 : 4),
    (count) => {
      const last = path.length - 1;
      k = Math.min(last, (k === last ? 0 : k) + count);
      time.set(k);
      if (k === last) play.set(false);
      figure.redraw();
    },
  );
  const who = figure.chooser({
    label: "Sampler",
    options: Object.entries(RUNNERS).map(([key, { words }]) => [key, words]),
    value: runner,
    set: (value) => (runner = value),
    after: run,
  });
  const count = figure.slider({
    label: "Calls",
    min: 0,
    max: all.length - 1,
    value: place,
    format: (value) => String(all[value]),
    set: (value) => (place = value),
    after: run,
  });
  const pace = figure.chooser({
    label: "Levels even in",
    options: [
      ["log tau", "log τ"],
      ["karras", "σ^(1/7) (Karras)"],
      ["sigma", "σ"],
    ],
    value: clock,
    set: (value) => (clock = value),
    after: run,
  });
  const choice = figure.chooser({
    label: "Data",
    options: Object.keys(race.targets),
    value: name,
    set: (value) => (name = value),
    after: run,
  });
  const again = button("New noise", () => (seed += 1), run);
  figure.add(
    html("div", { class: "dpm-space" }, space),
    hill,
    keys({ model: "points that step back", limit: "the data’s density" }),
    controls(play, time, again),
    controls(who, count, pace, choice),
    title("Exact distance to the data", " (Wasserstein, no draws)"),
    chart,
    keys(Object.fromEntries(Object.values(RUNNERS).map(({ ink, words }) => [ink, words]))),
    detail,
  );
  run();
  return figure.close;
}

export default live(render);
