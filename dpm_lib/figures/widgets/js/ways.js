// From noise back to data by the exact score of a mixture on the line, with more noise or less, in many steps or few.

import {
  button,
  clamp,
  cleared,
  controls,
  fillNormals,
  html,
  isCalm,
  keys,
  openFigure,
  renew,
  uniforms,
} from "./common.js";
import { lineCdf, lineDensity, lineDraw, lineScore } from "./mixture.js";
import { evenly, openPlot, rect, scales } from "./plot.js";
import { live } from "./view.js";

// --- Numbers; the twins are dpm_lib.diffusion.variance_exploding and dpm_lib.sde.sde. ---

/** steps + 1 times from first down to last, each the same factor below the one before. */
export const fallingTimes = (first, last, steps) =>
  Float64Array.from({ length: steps + 1 }, (_, k) => first * (last / first) ** (k / steps));

/** The factor of the score in the drift: the right one, or the one that a lecture prints. */
export const pull = (noise, printed) => (printed ? (1 + noise) / 2 : (1 + noise * noise) / 2);

/** One Euler-Maruyama step of all points from time t to `after` < t: a new array. */
export function stepBack(z, t, after, noise, printed, normals, data) {
  const drift = pull(noise, printed) * (t - after);
  const kick = noise * Math.sqrt(t - after);
  return Float64Array.from(z, (v, i) => v + drift * lineScore(v, t, data) + kick * normals[i]);
}

/** The points at all `times`, from n draws of the true law at the first. */
export function walkBack(times, n, noise, printed, data, uniform) {
  const normals = fillNormals(new Float64Array(n), uniform);
  let z = Float64Array.from(normals, (v) => lineDraw(times[0], data, uniform(), v));
  const path = [z];
  for (let k = 1; k < times.length; k++) {
    z = stepBack(z, times[k - 1], times[k], noise, printed, fillNormals(normals, uniform), data);
    path.push(z);
  }
  return path;
}

/** The largest difference between the points' distribution function and the true one at t (Kolmogorov, Smirnov). */
export function distance(z, t, data) {
  const sorted = Float64Array.from(z).sort();
  const n = z.length;
  let gap = 0;
  for (let i = 0; i < n; i++) {
    const F = lineCdf(sorted[i], t, data);
    gap = Math.max(gap, F - i / n, (i + 1) / n - F);
  }
  return gap;
}

// --- The figure. ---

const N = 4000;
const THREADS = 60;
const FIRST = 4;
const LAST = 0.01;
const REACH = 4.6;
const BARS = 92;
const DATA = {
  clumps: { words: "three clumps", centers: [-1.5, 0.3, 1.2], weights: [0.3, 0.5, 0.2], variance: 0.04 },
  points: { words: "two points", centers: [-1, 1], weights: [0.5, 0.5], variance: 0 },
  clump: { words: "one clump", centers: [0], weights: [1], variance: 0.04 },
};

function render({ model, el }) {
  const figure = openFigure(model, el, "ways");
  let noise = model.get("noise");
  let power = model.get("power");
  let printed = model.get("printed");
  let name = "clumps";
  let seed = 1;
  let k = 0;
  let times;
  let path;
  let gaps;

  const space = figure.canvas(
    "Space from left to right, time downwards: the paths of sixty points from noise to data, over the true density",
  );
  const hill = openPlot(
    figure,
    "dpm-hill-of-points",
    "Histogram of the points at the time shown, and the true density",
  );
  const detail = html("p", { class: "dpm-detail dpm-now" });

  function compute() {
    times = fallingTimes(FIRST, LAST, 2 ** power);
    path = walkBack(times, N, noise, printed, DATA[name], uniforms(seed));
    gaps = new Array(times.length);
    k = Math.min(k, 2 ** power);
    clock.range.max = 2 ** power;
    clock.set(k);
    figure.redraw();
  }
  const gapAt = (i) => (gaps[i] ??= distance(path[i], times[i], DATA[name]));

  const across = (v, width) => (width * (v + REACH)) / (2 * REACH);
  const backdrop = html("canvas");
  let painted = "";
  /** The true density, each row by its own largest value; drawn again for other data, another size or other colours. */
  function paintTruth({ width, height }) {
    const wanted = [name, width, height, figure.colours.panel, figure.colours.limit].join();
    if (painted === wanted) return;
    painted = wanted;
    Object.assign(backdrop, { width, height });
    const context = cleared(backdrop, figure.colours.panel);
    const rows = 48;
    const columns = 96;
    context.fillStyle = figure.colours.limit;
    for (let r = 0; r < rows; r++) {
      const t = FIRST * (LAST / FIRST) ** ((r + 0.5) / rows);
      const values = Array.from({ length: columns }, (_, c) =>
        lineDensity(-REACH + (2 * REACH * (c + 0.5)) / columns, t, DATA[name]),
      );
      const top = Math.max(...values);
      values.forEach((v, c) => {
        context.globalAlpha = (0.34 * v) / top;
        const x = Math.round((c * width) / columns);
        const y = Math.round((r * height) / rows);
        context.fillRect(x, y, Math.round(((c + 1) * width) / columns) - x, Math.round(((r + 1) * height) / rows) - y);
      });
    }
  }
  function drawSpace() {
    const context = cleared(space, figure.colours.panel);
    const pixel = devicePixelRatio;
    const { width, height } = space;
    const steps = times.length - 1;
    paintTruth(space);
    context.drawImage(backdrop, 0, 0);
    context.strokeStyle = figure.colours.model;
    context.lineWidth = pixel;
    for (let i = 0; i < THREADS; i++) {
      context.globalAlpha = 0.5;
      context.beginPath();
      for (let j = 0; j <= k; j++) context.lineTo(across(path[j][i], width), (height * j) / steps);
      context.stroke();
    }
    context.globalAlpha = 0.9;
    context.fillStyle = figure.colours.model;
    for (let i = 0; i < THREADS; i++) {
      context.fillRect(
        across(path[k][i], width) - 1.6 * pixel,
        clamp((height * k) / steps, 2 * pixel, height - 2 * pixel) - 1.6 * pixel,
        3.2 * pixel,
        3.2 * pixel,
      );
    }
    context.globalAlpha = 1;
    context.fillStyle = figure.colours.ink;
    context.fillText(`t = ${FIRST}`, 6 * pixel, 15 * pixel);
    context.fillText(`t = ${LAST}`, 6 * pixel, height - 6 * pixel);
  }
  function drawHill() {
    const wide = (2 * REACH) / BARS;
    const bars = new Float64Array(BARS);
    for (const v of path[k]) {
      const bar = Math.floor((v + REACH) / wide);
      if (bar >= 0 && bar < BARS) bars[bar] += 1 / (N * wide);
    }
    const truth = evenly(-REACH, REACH, 276).map((v) => [v, lineDensity(v, times[k], DATA[name])]);
    const top = 1.15 * Math.max(...truth.map(([, p]) => p));
    const plot = scales(hill, { left: 0, right: 0, top: 4, bottom: 18 }, [-REACH, REACH], [0, top], { held: "y" });
    const slot = plot.width / BARS;
    renew(
      hill,
      ...Array.from(bars, (p, i) => rect("dpm-walkers", i * slot + 0.3, plot.y(p), slot - 0.6, plot.floor - plot.y(p))),
      plot.curve("dpm-law dpm-ink-limit", truth),
      plot.axis(),
      ...plot.marks([-4, -2, 0, 2, 4]),
    );
  }
  figure.draw = () => {
    if (space.width) drawSpace();
    drawHill();
    const gap = gapAt(k);
    const floor = 1.36 / Math.sqrt(N);
    const far = path[k].reduce((sum, v) => sum + (Math.abs(v) > REACH), 0);
    detail.textContent =
      `λ = ${noise.toFixed(1)}, drift factor ${pull(noise, printed).toFixed(2)}, ${2 ** power} steps. Step ${k}, t = ${times[k].toPrecision(2)}: ` +
      `points and truth are ${gap.toFixed(3)} apart (chance alone keeps ${N} points below ${floor.toFixed(3)}, 19 times out of 20).` +
      (far > N / 100 ? ` ${Math.round((100 * far) / N)}% of the points are outside the picture.` : "");
    Object.assign(figure.root.dataset, { t: k, gap, noise, steps: 2 ** power, printed, floor, seed });
  };

  const clock = figure.slider({
    wide: true,
    label: "Time",
    min: 0,
    max: 2 ** power,
    value: 0,
    format: (value) => (times ? `t = ${times[clamp(value, 0, times.length - 1)].toPrecision(2)}` : ""),
    set: (value) => (k = value),
  });
  const play = figure.playSteps(
    () => (times.length - 1) / (isCalm() ? 8 : 4),
    (count) => {
      const last = times.length - 1;
      k = Math.min(last, (k === last ? 0 : k) + count);
      clock.set(k);
      if (k === last) play.set(false);
      figure.redraw();
    },
  );
  const strength = figure.slider({
    label: "Noise λ",
    min: 0,
    max: 4,
    step: 0.1,
    value: noise,
    format: (value) => value.toFixed(1),
    set: (value) => (noise = value),
    after: compute,
  });
  const count = figure.slider({
    label: "Steps",
    min: 2,
    max: 8,
    value: power,
    format: (value) => String(2 ** value),
    set: (value) => {
      k = Math.round(k * 2 ** (value - power));
      power = value;
    },
    after: compute,
  });
  const drift = figure.chooser({
    label: "Drift",
    options: [
      ["right", "(1 + λ²)/2, right"],
      ["printed", "(1 + λ)/2, printed"],
    ],
    value: printed ? "printed" : "right",
    set: (value) => (printed = value === "printed"),
    after: compute,
  });
  const choice = figure.chooser({
    label: "Data",
    options: Object.entries(DATA).map(([key, { words }]) => [key, words]),
    value: name,
    set: (value) => (name = value),
    after: compute,
  });
  const again = button("New noise", () => (seed += 1), compute);
  figure.add(
    html("div", { class: "dpm-space" }, space),
    hill,
    keys({ model: "points that step back", limit: "the true density" }),
    controls(play, clock, again),
    controls(strength, count, drift, choice),
    detail,
  );
  k = 2 ** power;
  compute();
  return figure.close;
}

export default live(render);
