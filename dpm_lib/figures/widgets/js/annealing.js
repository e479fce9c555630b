// Annealed importance sampling on a line, from a wide normal to two clumps: particles, weights, resampling.

import { button, cleared, controls, fillNormals, html, isCalm, openFigure, uniforms } from "./common.js";
import { systematic, weigh } from "./probability.js";
import { live } from "./view.js";

const logNormal = (x, mean, std) => -0.5 * ((x - mean) / std) ** 2 - Math.log(std) - 0.5 * Math.log(2 * Math.PI);
const logAdd = (a, b) => Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));

export const logProposal = (x, { spread }) => logNormal(x, 0, spread);

/** share N(distance / 2, std^2) + (1 - share) N(-distance / 2, std^2). */
export const logTarget = (x, { distance, std, share }) =>
  logAdd(Math.log(share) + logNormal(x, distance / 2, std), Math.log1p(-share) + logNormal(x, -distance / 2, std));

const logPath = (x, b, model) => (1 - b) * logProposal(x, model) + b * logTarget(x, model);

/** Weights for the change from b to next, then one Metropolis move at next; changes x and logWeights in place. */
export function annealStep(x, logWeights, b, next, step, noise, uniform, model) {
  for (let i = 0; i < x.length; i++) {
    logWeights[i] += (next - b) * (logTarget(x[i], model) - logProposal(x[i], model));
    const y = x[i] + step * noise[i];
    if (Math.log(uniform[i]) < logPath(y, next, model) - logPath(x[i], next, model)) x[i] = y;
  }
}

/** The exact log Z_b along the path, by a fine sum. */
export function exactLogZ(b, model, cells = 800) {
  const reach = 6 * model.spread + model.distance;
  const width = (2 * reach) / cells;
  let total = 0;
  for (let i = 0; i < cells; i++) total += Math.exp(logPath(-reach + (i + 0.5) * width, b, model));
  return Math.log(total * width);
}

/** A whole run with K temperatures: the particles, weights and summaries at each k = 0..K. */
export function wholeRun(...about) {
  const steps = temperatures(...about);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** The same, with a yield after each temperature. */
function* temperatures(n, K, resampling, seed, model) {
  const uniform = uniforms(seed);
  let x = fillNormals(new Float64Array(n), uniform).map((z) => z * model.spread);
  let logWeights = new Float64Array(n);
  const rows = [{ x: x.slice(), logWeights: logWeights.slice(), resampled: false, logZ: 0, ess: n }];
  for (let k = 1; k <= K; k++) {
    const noise = fillNormals(new Float64Array(n), uniform);
    const turns = Float64Array.from({ length: n }, uniform);
    annealStep(x, logWeights, (k - 1) / K, k / K, model.step, noise, turns, model);
    const { shares, logMean: logZ, size: ess } = weigh(logWeights);
    const resampled = resampling && ess < n / 2 && k < K;
    if (resampled) {
      const index = systematic(shares, uniform());
      x = Float64Array.from(index, (i) => x[i]);
      logWeights = new Float64Array(n).fill(logZ);
    }
    rows.push({ x: x.slice(), logWeights: logWeights.slice(), resampled, logZ, ess });
    yield;
  }
  return rows;
}

/** The shares of particles and of weight at x > 0. */
export function sharesRight({ x, logWeights }) {
  const { shares } = weigh(logWeights);
  let [count, weight] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    if (x[i] <= 0) continue;
    count += 1;
    weight += shares[i];
  }
  return { unweighted: count / x.length, weighted: weight };
}

const words = (value) => (Math.round(100 * value) / 100 + 0).toFixed(2); // no minus before a zero

const NUMBERS = [1, 2, 4, 8, 16, 32, 64, 128, 256];

function render({ model, el }) {
  const figure = openFigure(model, el, "annealing");
  const { root, colours } = figure;
  let setting;
  let n;
  let rows;
  let truth;
  let shade;
  let K = 32;
  let k = 0;
  let seed = 1;
  let resampling = false;
  let place = 0;

  function read() {
    setting = Object.fromEntries(["distance", "std", "share", "spread", "step"].map((key) => [key, model.get(key)]));
    n = model.get("n");
    truth = Array.from({ length: 65 }, (_, i) => exactLogZ(i / 64, setting));
  }
  const run = figure.inSlices(function* () {
    rows = yield* temperatures(n, K, resampling, seed, setting);
    shade = null;
    k = Math.min(k, K);
    figure.redraw();
  });

  const cloud = figure.canvas("Particles along the temperatures: height is x, area is weight");
  cloud.style.aspectRatio = "2.2";
  const size = figure.canvas("Effective sample size along the temperatures");
  const running = figure.canvas("Running estimate of log Z along the temperatures, over the exact curve");
  for (const canvas of [size, running]) canvas.style.aspectRatio = "2.6";
  const readout = html("p", { class: "dpm-detail" });

  const margin = () => 12 * devicePixelRatio;
  const across = (canvas, b) => margin() + b * (canvas.width - 2 * margin());

  /** The density of each temperature as a faint column. */
  function shadeColumns(context, reach) {
    const [columns, cells] = [48, 66];
    shade ??= Array.from({ length: columns }, (_, c) => {
      const b = (c + 0.5) / columns;
      const logZ = exactLogZ(b, setting);
      return Array.from({ length: cells }, (_, r) => {
        const x = reach - (2 * reach * (r + 0.5)) / cells;
        return Math.exp(logPath(x, b, setting) - logZ);
      });
    });
    context.fillStyle = colours.drift;
    const [width, height] = [(cloud.width - 2 * margin()) / columns, cloud.height / cells];
    shade.forEach((column, c) => {
      column.forEach((density, r) => {
        context.globalAlpha = Math.min(0.55, 0.9 * density);
        context.fillRect(margin() + c * width, r * height, width + 0.6, height + 0.6);
      });
    });
    context.globalAlpha = 1;
  }
  function drawCloud() {
    const context = cleared(cloud, colours.panel);
    const reach = 0.5 * setting.distance + 4.5 * setting.std;
    const y = (x) => ((reach - x) / (2 * reach)) * cloud.height;
    shadeColumns(context, reach);
    context.strokeStyle = colours.muted;
    context.globalAlpha = 0.25;
    context.lineWidth = devicePixelRatio;
    for (let i = 0; i < Math.min(n, 40) && !resampling; i++) {
      context.beginPath();
      for (let j = 0; j <= k; j++) context.lineTo(across(cloud, j / K), y(rows[j].x[i]));
      context.stroke();
    }
    const { x, logWeights, logZ } = rows[k];
    const sum = n * Math.exp(logZ);
    context.fillStyle = colours.model;
    context.globalAlpha = 0.6;
    for (let i = 0; i < n; i++) {
      const radius = 26 * devicePixelRatio * Math.sqrt(Math.exp(logWeights[i]) / sum);
      context.beginPath();
      context.arc(across(cloud, k / K), y(x[i]), Math.max(radius, 0.4 * devicePixelRatio), 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
    const foot = cloud.height - 5 * devicePixelRatio;
    note(context, "b = 0", margin(), foot);
    note(context, "b = 1", cloud.width - margin(), foot, "right");
    for (const side of [1, -1])
      note(
        context,
        `x = ${side < 0 ? "−" : ""}${setting.distance / 2}`,
        4 * devicePixelRatio,
        y((side * setting.distance) / 2),
      );
  }
  /** A curve over b; a run of few temperatures gets a dot at each, since it is defined only there. */
  function curve(context, canvas, values, height, colour, last, dots = false) {
    context.strokeStyle = context.fillStyle = colour;
    if (dots && values.length <= 33) {
      values.forEach((value, i) => {
        context.beginPath();
        context.arc(across(canvas, i / (values.length - 1)), height(value), 3 * devicePixelRatio, 0, 2 * Math.PI);
        if (i <= last) context.fill();
      });
      context.globalAlpha = 0.35;
    }
    context.beginPath();
    values.forEach((value, i) => {
      if (i <= last) context.lineTo(across(canvas, i / (values.length - 1)), height(value));
    });
    context.stroke();
    context.globalAlpha = 1;
  }
  function note(context, words, x, y, align = "left") {
    context.fillStyle = colours.muted;
    context.textAlign = align;
    context.fillText(words, x, y);
  }
  const title = (context, words) => note(context, words, margin(), 15 * devicePixelRatio);
  /** The values at the top and the bottom of a plot, at its right edge. */
  function scale(context, canvas, height, ...values) {
    for (const value of values)
      note(
        context,
        Number.isInteger(value) ? value : words(value),
        canvas.width - 4 * devicePixelRatio,
        height(value) + 4 * devicePixelRatio,
        "right",
      );
  }
  function drawSize() {
    const context = cleared(size, colours.panel);
    const height = (value) => size.height - 6 * devicePixelRatio - (value / n) * (size.height - 28 * devicePixelRatio);
    curve(
      context,
      size,
      rows.map((row) => row.ess),
      height,
      colours.model,
      k,
      true,
    );
    scale(context, size, height, n / 2);
    title(context, `effective sample size, of ${n}`);
  }
  function drawRunning() {
    const context = cleared(running, colours.panel);
    const values = rows.map((row) => row.logZ);
    const high = Math.max(0.15, ...truth, ...values);
    const low = Math.min(-0.15, ...truth, ...values);
    const space = 24 * devicePixelRatio;
    const height = (value) => space + ((high - value) / (high - low)) * (running.height - space - 6 * devicePixelRatio);
    context.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    curve(context, running, truth, height, colours.limit, Infinity);
    context.setLineDash([]);
    curve(context, running, values, height, colours.model, k, true);
    scale(context, running, height, 0, low);
    title(context, "running log Z; dashed: exact");
  }
  figure.draw = () => {
    if (!cloud.width || rows?.length !== K + 1) return; // a run of so many temperatures is not there yet
    drawCloud();
    drawSize();
    drawRunning();
    const { logZ, ess } = rows[k];
    const { unweighted, weighted } = sharesRight(rows[k]);
    readout.textContent =
      `b = ${(k / K).toFixed(2)}. Effective ${ess.toFixed(0)} of ${n}; log Z ${words(logZ)}, exact ` +
      `${words(exactLogZ(k / K, setting))}. Share at x > 0: ${weighted.toFixed(2)} of the weight, ` +
      `${unweighted.toFixed(2)} of the particles; of the target, ${setting.share.toFixed(2)}. Run no. ${seed}.`;
    root.dataset.t = k;
    root.dataset.seed = seed;
    root.dataset.logZ = logZ;
  };

  read();
  const time = figure.slider({
    wide: true,
    label: "Temperature k",
    min: 0,
    max: K,
    value: 0,
    format: (value) => `${value} of ${K}`,
    set: (value) => {
      k = value;
      place = k / K;
    },
  });
  function goTo(next) {
    k = next;
    time.set(k);
    figure.redraw();
  }
  const play = figure.playButton((seconds) => {
    if (k === K && place >= 1) place = 0;
    place += seconds / (isCalm() ? 8 : 4);
    const next = Math.min(K, Math.max(1, Math.ceil(place * K)));
    if (place >= 1) play.set(false);
    if (next !== k) goTo(next);
  });
  const number = figure.slider({
    label: "Temperatures K",
    min: 0,
    max: NUMBERS.length - 1,
    value: NUMBERS.indexOf(K),
    format: (value) => String(NUMBERS[value]),
    set: (value) => {
      const share = k / K;
      K = NUMBERS[value];
      time.range.max = K;
      run();
      goTo(Math.round(share * K));
    },
  });
  const switchResampling = figure.checkbox({ label: "Resample", set: (value) => (resampling = value), after: run });
  const again = button("New run", () => (seed += 1), run);
  const pair = html(
    "div",
    { style: "display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 0.5rem" },
    html("div", { class: "dpm-live" }, size),
    html("div", { class: "dpm-live" }, running),
  );
  pair.style.marginTop = "0.5rem";
  figure.add(
    html("div", { class: "dpm-live" }, cloud),
    pair,
    controls(play, time),
    controls(number, switchResampling, again),
    readout,
  );
  run();
  goTo(K);
  place = 1;
  figure.onChange("distance std share spread step n", () => {
    read();
    run();
  });
  return figure.close;
}

export default live(render);
