// Work forward and back: a normal dragged by `shift`, the two histograms of work, and the bounds they give.

import { button, cleared, controls, fillNormals, html, openFigure, uniforms } from "./common.js";
import { minus } from "./plot.js";
import { live } from "./view.js";

/**
 * The work -log w of n paths from N(0, 1) to Z N(shift, 1) in K steps, for normal noise (flat, n * K).
 * Between steps x moves towards the mean of its temperature, and keeps the fraction rho of its distance from it.
 * With `back`, the paths start in the target and are walked the other way; the work is still that of going forward.
 */
export function works(K, rho, { shift, logZ }, noise, back = false) {
  const n = noise.length / K;
  const fresh = Math.sqrt(1 - rho * rho);
  return Float64Array.from({ length: n }, (_, i) => {
    let x = noise[i * K] + (back ? shift : 0);
    let work = 0;
    for (let j = 0; j < K; j++) {
      work -= (logZ + shift * x - 0.5 * shift * shift) / K;
      if (j === K - 1) break;
      const mean = (shift * (back ? K - 1 - j : j + 1)) / K;
      x = mean + rho * (x - mean) + fresh * noise[i * K + j + 1];
    }
    return work;
  });
}

/** The exact variance of the work: shift^2 / K^2 times the sum of rho^|i - j| over i, j = 0..K-1. */
export function workVariance(K, rho, { shift }) {
  let sum = K;
  for (let lag = 1; lag < K; lag++) sum += 2 * (K - lag) * rho ** lag;
  return (shift * shift * sum) / (K * K);
}

/** -log mean exp(-W): Jarzynski's estimate of -log Z from works. */
export function freeEnergy(work) {
  const least = Math.min(...work);
  return least - Math.log(work.reduce((sum, w) => sum + Math.exp(least - w), 0) / work.length);
}

export const average = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

const NUMBERS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
const BLOCK = 32768; // normal numbers between two looks at the clock

function render({ model, el }) {
  const figure = openFigure(model, el, "work");
  const { root, colours } = figure;
  let setting;
  let n;
  let ladder;
  let chosen = 3;
  let rho = 0;
  let seed = 1;

  function read() {
    setting = { shift: model.get("shift"), logZ: model.get("log_z") };
    n = model.get("n");
  }
  const run = figure.inSlices(function* () {
    const uniform = uniforms(seed);
    const rows = [];
    for (const K of NUMBERS) {
      const both = [];
      for (const back of [false, true]) {
        const noise = new Float64Array(n * K);
        for (let at = 0; at < noise.length; at += BLOCK) {
          fillNormals(noise.subarray(at, at + BLOCK), uniform);
          yield;
        }
        both.push(works(K, rho, setting, noise, back));
      }
      rows.push({ K, rho, forward: both[0], back: both[1] });
    }
    ladder = rows;
    figure.redraw();
  });

  const bars = figure.canvas("Histograms of work, forward and back, over their exact densities");
  const bounds = figure.canvas("Bounds on log Z from below and above, by the number of temperatures");
  bars.style.aspectRatio = bounds.style.aspectRatio = "1.55";
  const readout = html("p", { class: "dpm-detail" });

  function rule(context, x1, y1, x2, y2) {
    context.strokeStyle = colours.limit;
    context.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    context.beginPath();
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
    context.stroke();
    context.setLineDash([]);
  }
  function drawBars() {
    const context = cleared(bars, colours.panel);
    const { K, rho, forward, back } = ladder[chosen];
    const pixel = devicePixelRatio;
    const variance = workVariance(K, rho, setting);
    const reach = 0.5 * variance + 3.6 * Math.sqrt(variance);
    const cells = 50;
    const floor = bars.height - 22 * pixel;
    const x = (w) => ((w + setting.logZ + reach) / (2 * reach)) * bars.width;
    const top = 1.25 / Math.sqrt(2 * Math.PI * variance);
    const y = (density) => floor * (1 - density / top);
    for (const [values, colour, side] of [
      [forward, colours.data, 1],
      [back, colours.model, -1],
    ]) {
      const counts = new Float64Array(cells);
      for (const w of values) {
        const cell = Math.floor((x(w) / bars.width) * cells);
        if (cell >= 0 && cell < cells) counts[cell] += 1;
      }
      context.fillStyle = colour;
      context.globalAlpha = 0.45;
      counts.forEach((count, c) => {
        const height = (floor * ((count / n) * cells)) / (2 * reach) / top;
        context.fillRect((c * bars.width) / cells, floor - height, bars.width / cells - 1, height);
      });
      context.globalAlpha = 1;
      context.strokeStyle = colour;
      context.beginPath();
      for (let c = 0; c <= 120; c++) {
        const w = -setting.logZ - reach + (2 * reach * c) / 120;
        const z = (w + setting.logZ - 0.5 * side * variance) / Math.sqrt(variance);
        context.lineTo(x(w), y(Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI * variance)));
      }
      context.stroke();
    }
    rule(context, x(-setting.logZ), 0, x(-setting.logZ), floor);
    context.fillStyle = colours.muted;
    context.textAlign = "center";
    context.fillText("−log Z", x(-setting.logZ), bars.height - 7 * pixel);
    for (const part of [-0.8, -0.4, 0.4, 0.8]) {
      const w = part * reach - setting.logZ;
      context.fillText(minus(w.toFixed(1)), x(w), bars.height - 7 * pixel);
    }
    context.textAlign = "left";
    context.fillText("work back", 8 * pixel, 16 * pixel);
    context.textAlign = "right";
    context.fillText("work forward", bars.width - 8 * pixel, 16 * pixel);
    context.textAlign = "left";
  }
  function drawBounds() {
    const context = cleared(bounds, colours.panel);
    const pixel = devicePixelRatio;
    const half = 0.6 * setting.shift * setting.shift;
    const x = (i) => 24 * pixel + (i / (NUMBERS.length - 1)) * (bounds.width - 48 * pixel);
    const y = (value) => 0.5 * bounds.height - ((value - setting.logZ) / half) * (0.5 * bounds.height - 30 * pixel);
    rule(context, x(0), y(setting.logZ), x(NUMBERS.length - 1), y(setting.logZ));
    for (const [side, colour, sign] of [
      ["forward", colours.data, -1],
      ["back", colours.model, 1],
    ]) {
      context.strokeStyle = context.fillStyle = colour;
      context.beginPath();
      ladder.forEach(({ K, rho }, i) =>
        context.lineTo(x(i), y(setting.logZ + 0.5 * sign * workVariance(K, rho, setting))),
      );
      context.stroke();
      ladder.forEach((row, i) => {
        context.beginPath();
        context.arc(x(i), y(-average(row[side])), (i === chosen ? 6 : 3.5) * pixel, 0, 2 * Math.PI);
        context.fill();
      });
    }
    context.fillStyle = colours.muted;
    context.textAlign = "center";
    NUMBERS.forEach((K, i) => context.fillText(String(K), x(i), bounds.height - 7 * pixel));
    context.textAlign = "left";
    context.fillText("bounds on log Z, by K", 8 * pixel, 16 * pixel);
    for (const value of [-0.8, 0, 0.8].map((part) => setting.logZ + part * half)) {
      context.fillText(minus(value.toFixed(1)), 2 * pixel, y(value) - 3 * pixel);
    }
  }
  figure.draw = () => {
    if (!bars.width || !ladder) return;
    drawBars();
    drawBounds();
    const { K, rho, forward, back } = ladder[chosen];
    readout.textContent =
      `K = ${K}: log Z is at least ${(-average(forward)).toFixed(2)} and at most ${(-average(back)).toFixed(2)} on ` +
      `average; by Jarzynski's equality ${(-freeEnergy(forward)).toFixed(2)}; exactly ${setting.logZ.toFixed(2)}. ` +
      `Variance of the work ${workVariance(K, rho, setting).toFixed(2)}. Run no. ${seed}.`;
    root.dataset.seed = seed;
    root.dataset.number = K;
  };

  read();
  const number = figure.slider({
    label: "Temperatures K",
    min: 0,
    max: NUMBERS.length - 1,
    value: chosen,
    format: (value) => String(NUMBERS[value]),
    set: (value) => (chosen = value),
  });
  const sticky = figure.slider({
    label: "Kept by a move",
    min: 0,
    max: 0.95,
    step: 0.05,
    value: 0,
    format: (value) => value.toFixed(2),
    set: (value) => (rho = value),
    after: run,
  });
  const again = button("New run", () => (seed += 1), run);
  const pair = html(
    "div",
    { style: "display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 0.5rem" },
    html("div", { class: "dpm-live" }, bars),
    html("div", { class: "dpm-live" }, bounds),
  );
  figure.add(pair, controls(number, sticky, again), readout);
  run();
  figure.onChange("shift log_z n", () => {
    read();
    run();
  });
  return figure.close;
}

export default live(render);
