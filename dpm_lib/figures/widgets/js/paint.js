// A likelihood painted on a roll of Gaussians, and four reverse chains that are multiplied by it. Twin of
// dpm_lib.probability.products_of_laws.

import {
  button,
  clamp,
  controls,
  drawPoints,
  html,
  isCalm,
  openFigure,
  openSquare,
  title,
  uniforms,
} from "./common.js";
import { normalCdf, systematic, totalVariation, weigh } from "./probability.js";
import { live } from "./view.js";

const EXTENT = 2.5;
const CELLS = 20;
const MOST = 14;
const METHODS = ["constant", "annealed", "twisted", "particles"];

// --- Numbers. A roll is { centres: flat 2K, logWeights: K, variance }; r is { dabs: [[x, y], ...], width, floor }. ---

/** tau_0 = 0, and tau_1..tau_T evenly in log tau. */
export const levels = (T, first = 2e-3, last = 1e4) =>
  Float64Array.from({ length: T + 1 }, (_, t) => (t ? first * (last / first) ** ((t - 1) / (T - 1)) : 0));

/** The terms of r^power: [height, x, y, variance] for each dab, raised one by one, and the floor, of variance Infinity. */
export function termsOf({ dabs, width, floor }, power = 1) {
  const terms = dabs.map(([x, y]) => [1, x, y, (width * width) / power]);
  return [[floor ** power, 0, 0, Infinity], ...terms];
}

/** r at a point. */
export const valueAt = (terms, x, y) =>
  terms.reduce((sum, [h, u, v, s]) => sum + h * Math.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * s)), 0);

/**
 * A blend times r: `out` gets [log weight, x, y, variance] of each product; returns log Z. `blend` is a flat array of
 * [log weight, x, y] with one variance; what is lighter than the heaviest by 16 nats is left out.
 */
export function multiply(blend, count, variance, terms, out) {
  let top = -Infinity;
  let n = 0;
  for (let k = 0; k < count; k++) {
    const w = blend[3 * k];
    const x = blend[3 * k + 1];
    const y = blend[3 * k + 2];
    for (const [h, u, v, s] of terms) {
      const flat = s === Infinity;
      const shrink = flat ? 1 : s / (s + variance);
      const far = flat ? 0 : ((x - u) ** 2 + (y - v) ** 2) / (2 * (s + variance));
      const log = w + Math.log(h * shrink) - far;
      if (log < top - 16) continue;
      if (log > top) top = log;
      out[4 * n] = log;
      out[4 * n + 1] = flat ? x : (x * s + u * variance) / (s + variance);
      out[4 * n + 2] = flat ? y : (y * s + v * variance) / (s + variance);
      out[4 * n + 3] = variance * shrink;
      n += 1;
    }
  }
  let total = 0;
  for (let i = 0; i < n; i++) total += Math.exp(out[4 * i] - top);
  out.n = n;
  out.top = top;
  out.total = total;
  return top + Math.log(total);
}

/** The law of x_0 given x_t, into `blend` (flat, 3 a part): how many parts, and their variance. */
export function guess(x, y, tau, roll, blend) {
  const alpha = 1 / (1 + tau);
  const noise = tau / (1 + tau);
  const root = Math.sqrt(alpha);
  const spread = alpha * roll.variance + noise;
  const K = roll.logWeights.length;
  let top = -Infinity;
  const logs = (guess.logs ??= new Float64Array(4096));
  let total = 0;
  for (let k = 0; k < K; k++) {
    const dx = x - root * roll.centres[2 * k];
    const dy = y - root * roll.centres[2 * k + 1];
    logs[k] = roll.logWeights[k] - (dx * dx + dy * dy) / (2 * spread);
    if (logs[k] > top) top = logs[k];
  }
  for (let k = 0; k < K; k++) total += Math.exp(logs[k] - top);
  const norm = top + Math.log(total);
  const gain = (roll.variance * root) / spread; // how far the mean moves towards x
  let n = 0;
  for (let k = 0; k < K; k++) {
    if (logs[k] < top - 16) continue;
    const cx = roll.centres[2 * k];
    const cy = roll.centres[2 * k + 1];
    blend[3 * n] = logs[k] - norm;
    blend[3 * n + 1] = cx + gain * (x - root * cx);
    blend[3 * n + 2] = cy + gain * (y - root * cy);
    n += 1;
  }
  return [n, (roll.variance * noise) / spread];
}

/** x_{t-1} = from * x_t + to * x_0 + noise of this variance, given x_0. */
export function bridge(before, tau) {
  const ratio = before / tau;
  const root = Math.sqrt(1 / (1 + before));
  return {
    from: ratio * root * Math.sqrt(1 + tau),
    to: root * (1 - ratio),
    variance: (before * (1 - ratio)) / (1 + before),
  };
}

/**
 * The step from x_t to x_{t-1}, times the terms of psi_{t-1}; or, `twisted`, times the exact r_{t-1}, by way of x_0,
 * for which `terms` are those of r. The products are in `out`; returns log Z.
 */
export function perturbed(x, y, before, tau, roll, terms, twisted, blend, out) {
  const [count, variance] = guess(x, y, tau, roll, blend);
  const b = bridge(before, tau);
  if (!twisted) {
    for (let k = 0; k < count; k++) {
      blend[3 * k + 1] = b.from * x + b.to * blend[3 * k + 1];
      blend[3 * k + 2] = b.from * y + b.to * blend[3 * k + 2];
    }
    return multiply(blend, count, b.variance + b.to * b.to * variance, terms, out);
  }
  const logZ = multiply(blend, count, variance, terms, out);
  for (let i = 0; i < out.n; i++) {
    out[4 * i + 1] = b.from * x + b.to * out[4 * i + 1];
    out[4 * i + 2] = b.from * y + b.to * out[4 * i + 2];
    out[4 * i + 3] = b.variance + b.to * b.to * out[4 * i + 3];
  }
  return logZ;
}

/** A draw from the products in `out`, into points[2 i], points[2 i + 1]. */
export function draw(out, uniform, points, i) {
  let left = uniform() * out.total;
  let k = 0;
  while (k < out.n - 1 && (left -= Math.exp(out[4 * k] - out.top)) > 0) k += 1;
  const radius = Math.sqrt(-2 * Math.log(uniform()) * out[4 * k + 3]);
  const angle = 2 * Math.PI * uniform();
  points[2 * i] = out[4 * k + 1] + radius * Math.cos(angle);
  points[2 * i + 1] = out[4 * k + 2] + radius * Math.sin(angle);
}

const buffers = () => ({ blend: new Float64Array(3 * 4096), out: new Float64Array(4 * 4096 * (MOST + 1)) });

/** The roll's law as `multiply` wants it. */
function rollBlend(roll, blend) {
  for (let k = 0; k < roll.logWeights.length; k++) {
    blend.set([roll.logWeights[k], roll.centres[2 * k], roll.centres[2 * k + 1]], 3 * k);
  }
  return roll.logWeights.length;
}

/** The exact posterior: its products in a fresh array like `out`. */
export function posterior(roll, terms) {
  const { blend, out } = buffers();
  out.logZ = multiply(blend, rollBlend(roll, blend), roll.variance, terms, out);
  return out;
}

/** Exact mass of the products in each of cells x cells squares of [-extent, extent]^2, row by row, and outside: last. */
export function cellMasses(out, cells = CELLS, extent = EXTENT) {
  const mass = new Float64Array(cells * cells + 1);
  const [ax, ay] = [new Float64Array(cells), new Float64Array(cells)];
  const edges = Array.from({ length: cells + 1 }, (_, i) => -extent + (2 * extent * i) / cells);
  for (let k = 0; k < out.n; k++) {
    const weight = Math.exp(out[4 * k] - out.top) / out.total;
    if (weight < 1e-7) continue;
    const scale = Math.sqrt(out[4 * k + 3]);
    for (const [axis, at] of [
      [ax, out[4 * k + 1]],
      [ay, out[4 * k + 2]],
    ]) {
      let last = normalCdf((edges[0] - at) / scale);
      for (let i = 0; i < cells; i++) {
        const next = normalCdf((edges[i + 1] - at) / scale);
        axis[i] = next - last;
        last = next;
      }
    }
    for (let j = 0; j < cells; j++) for (let i = 0; i < cells; i++) mass[j * cells + i] += weight * ax[i] * ay[j];
  }
  mass[cells * cells] = Math.max(0, 1 - mass.reduce((a, b) => a + b, 0));
  return mass;
}

/** Total variation between exact cell masses and weighted points (weights sum to 1). */
export function cellDistance(mass, points, weights, cells = CELLS, extent = EXTENT) {
  const found = new Float64Array(mass.length);
  for (let i = 0; i < weights.length; i++) {
    const [a, b] = [points[2 * i], points[2 * i + 1]].map((v) => Math.floor(((v + extent) / (2 * extent)) * cells));
    const inside = a >= 0 && b >= 0 && a < cells && b < cells;
    found[inside ? b * cells + a : cells * cells] += weights[i];
  }
  return totalVariation(found, mass);
}

/** What that distance would be, on average, for n independent draws of the posterior itself (normal approximation). */
export const noiseFloor = (mass, n) => mass.reduce((sum, p) => sum + Math.sqrt((p * (1 - p)) / (2 * Math.PI * n)), 0);

/** One chain of n particles; `step()` moves it from t to t - 1. */
export function openChain(method, T, roll, r, n, uniform) {
  const tau = levels(T);
  const { blend, out } = buffers();
  const constant = termsOf(r);
  const power = (t) => 1 - t / T;
  const at = (t) => (method === "annealed" || method === "particles" ? termsOf(r, Math.max(power(t), 1e-9)) : constant);
  const points = new Float64Array(2 * n);
  const logWeights = new Float64Array(n);
  const chain = { points, t: T, least: n, shares: () => weigh(logWeights).shares };
  const shift = [0, 0];
  if (method === "twisted") {
    // pi times the line that touches log r_T at 0
    const [count, variance] = guess(0, 0, tau[T], roll, blend);
    const before = meanOf(blend, count);
    multiply(blend, count, variance, constant, out);
    const after = productMean(out);
    for (let i = 0; i < 2; i++) shift[i] = ((after[i] - before[i]) * Math.sqrt(1 + tau[T])) / tau[T];
  }
  blend.set([0, ...shift]);
  const logZ = multiply(blend, 1, 1, method === "twisted" ? [[1, 0, 0, Infinity]] : at(T), out);
  for (let i = 0; i < n; i++) draw(out, uniform, points, i);
  if (method === "particles") logWeights.fill(logZ);
  chain.step = () => {
    const now = at(chain.t);
    const next = at(chain.t - 1);
    for (let i = 0; i < n; i++) {
      const [x, y] = [points[2 * i], points[2 * i + 1]];
      const log = perturbed(
        x,
        y,
        tau[chain.t - 1],
        tau[chain.t],
        roll,
        method === "twisted" ? constant : next,
        method === "twisted",
        blend,
        out,
      );
      if (method === "particles") logWeights[i] += log - Math.log(valueAt(now, x, y));
      draw(out, uniform, points, i);
    }
    chain.t -= 1;
    chain.size = weigh(logWeights).size;
    chain.least = Math.min(chain.least, chain.size);
    if (method === "particles" && chain.t > 0 && chain.size < n / 2) resample(points, logWeights, uniform());
  };
  return chain;
}

function meanOf(blend, count) {
  const mean = [0, 0];
  for (let k = 0; k < count; k++) for (const i of [0, 1]) mean[i] += Math.exp(blend[3 * k]) * blend[3 * k + 1 + i];
  return mean;
}

export function productMean(out) {
  const mean = [0, 0];
  for (let k = 0; k < out.n; k++)
    for (const i of [0, 1]) mean[i] += (Math.exp(out[4 * k] - out.top) / out.total) * out[4 * k + 1 + i];
  return mean;
}

/** Systematic resampling in place; every weight becomes the mean weight. */
export function resample(points, logWeights, u) {
  const { shares, logMean } = weigh(logWeights);
  const old = points.slice();
  systematic(shares, u).forEach((k, i) => {
    points[2 * i] = old[2 * k];
    points[2 * i + 1] = old[2 * k + 1];
  });
  logWeights.fill(logMean);
}

// --- The figure. ---

export const PRESETS = {
  "two spots": [
    [-0.6, 1.1],
    [0.9, -0.5],
  ],
  "a line": Array.from({ length: 11 }, (_, i) => [-2 + 0.4 * i, 0.25]),
  "one corner": [
    [1.7, 1.3],
    [1.9, 0.8],
    [1.3, 1.7],
  ],
  nothing: [],
};

function render({ model, el }) {
  const figure = openFigure(model, el, "paint");
  const { root, colours } = figure;
  const roll = {
    centres: model.get("centres").flat(),
    logWeights: Float64Array.from(model.get("weights"), Math.log),
    variance: model.get("variance"),
  };
  let [T, n, width, seed] = [model.get("T"), model.get("n"), 0.3, 1];
  let dabs = PRESETS["two spots"].slice();
  let brush = [0, 0];
  let exact;
  let mass;
  let sample;
  let chains;
  let uniform;
  let animate = 0;

  const canvas = figure.canvas();
  canvas.removeAttribute("aria-hidden");
  for (const [key, value] of Object.entries({
    role: "application",
    tabindex: 0,
    class: "dpm-brush",
    "aria-label":
      "Likelihood on the roll: drag to paint; or move the brush with the arrow keys, Enter paints, Backspace takes back",
  }))
    canvas.setAttribute(key, value);
  const panels = METHODS.map((method) => {
    const picture = figure.canvas(`Draws by the method ${method}, over the exact posterior`);
    const words = html("span", { class: "dpm-value" });
    return {
      method,
      picture,
      words,
      node: html(
        "div",
        { class: "dpm-panel-of" },
        html("p", { class: "dpm-title" }, method),
        picture,
        html("p", {}, words),
      ),
    };
  });
  const detail = html("p", { class: "dpm-detail" });

  const likelihood = () => ({ dabs, width, floor: 0.01 });
  function change() {
    // the picture changed: the exact answer at once, the chains from the start
    exact = posterior(roll, termsOf(likelihood()));
    mass = cellMasses(exact);
    restart();
  }
  function restart() {
    uniform = uniforms(seed);
    sample = new Float64Array(2 * n);
    for (let i = 0; i < n; i++) draw(exact, uniform, sample, i);
    chains = METHODS.map((method, k) => openChain(method, T, roll, likelihood(), n, uniforms(10 * seed + k)));
    figure.redraw();
    animate ||= requestAnimationFrame(work);
  }
  function work() {
    // as many steps as fit a frame: all chains are finished soon, and the page stays awake
    animate = 0;
    if (play.button.textContent === "Pause" || held) return;
    const until = performance.now() + 14;
    while (chains[0].t > 0 && performance.now() < until) chains.forEach((chain) => chain.step());
    figure.redraw();
    if (chains[0].t > 0) animate = requestAnimationFrame(work);
  }

  const shade = (square) => {
    const { context, x, y } = square;
    const side = (2 * EXTENT) / CELLS;
    const top = Math.max(...mass.subarray(0, CELLS * CELLS));
    context.fillStyle = colours.limit;
    for (let j = 0; j < CELLS; j++) {
      for (let i = 0; i < CELLS; i++) {
        context.globalAlpha = 0.55 * Math.sqrt(mass[j * CELLS + i] / top);
        const left = x(-EXTENT + i * side);
        const high = y(-EXTENT + (j + 1) * side);
        context.fillRect(left, high, x(-EXTENT + (i + 1) * side) - left + 0.5, y(-EXTENT + j * side) - high + 0.5);
      }
    }
    context.globalAlpha = 1;
  };
  function drawBrush() {
    const square = openSquare(canvas, EXTENT, colours.panel);
    const { context, x, y, pixel } = square;
    drawPoints(square, roll.centres, roll.logWeights.length, { colour: colours.data, size: 4, alpha: 0.5 });
    const disc = ([u, v], fill) => {
      context.beginPath();
      context.arc(x(u), y(v), (width * canvas.width) / (2 * EXTENT), 0, 2 * Math.PI);
      if (fill) context.fill();
      else context.stroke();
    };
    context.fillStyle = colours.drift;
    context.globalAlpha = 0.3;
    dabs.forEach((dab) => disc(dab, true));
    context.globalAlpha = 1;
    drawPoints(square, sample, n, { colour: colours.limit, size: 2, alpha: 0.7 });
    context.strokeStyle = colours.ink;
    context.lineWidth = pixel;
    disc(brush, false);
  }
  figure.draw = () => {
    if (canvas.width) drawBrush();
    const even = new Float64Array(n).fill(1 / n);
    const own = cellDistance(mass, sample, even);
    panels.forEach(({ method, picture, words }, k) => {
      const chain = chains[k];
      if (picture.width) {
        const square = openSquare(picture, EXTENT, colours.panel);
        shade(square);
        const w = chain.shares();
        drawPoints(square, chain.points, n, {
          colour: colours.model,
          size: 1.8,
          alpha: method === "particles" ? 0.35 : 0.6,
        });
        if (method === "particles") {
          // the heavy ones once more
          const heavy = chain.points.filter((_, i) => w[i >> 1] > 1 / n);
          drawPoints(square, heavy, heavy.length / 2, { colour: colours.model, size: 2.4, alpha: 0.6 });
        }
      }
      const done = chain.t === 0;
      const far = done ? cellDistance(mass, chain.points, chain.shares()) : NaN;
      words.textContent = done
        ? `TV ${far.toFixed(2)}${method === "particles" ? `, effective ${Math.round(chain.size)}` : ""}`
        : `t = ${chain.t}`;
      root.dataset[method] = far;
    });
    detail.textContent =
      `Total variation on ${CELLS} × ${CELLS} cells. ${n} independent draws of the exact posterior, on the left, have ${own.toFixed(2)}; ` +
      `on average they have ${noiseFloor(mass, n).toFixed(2)}: a method that has as little cannot be told from them.`;
    Object.assign(root.dataset, {
      t: chains[0].t,
      dabs: dabs.length,
      brush: brush.map((v) => v.toFixed(2)).join(","),
      own,
      floor: noiseFloor(mass, n),
    });
  };

  function dab() {
    if (dabs.some(([u, v]) => Math.hypot(u - brush[0], v - brush[1]) < 0.6 * width)) return;
    dabs = [...dabs, brush.slice()].slice(-MOST);
    preset.select.value = "your own";
    change();
  }
  function undo() {
    dabs = dabs.slice(0, -1);
    preset.select.value = "your own";
    change();
  }
  const isDab = (dab) => Array.isArray(dab) && dab.length === 2 && dab.every(Number.isFinite);
  figure.keep(
    "painted",
    () => dabs,
    (values) => {
      dabs = values.map((dab) => dab.map((v) => clamp(v, -EXTENT, EXTENT)));
      change();
    },
    (values) => Array.isArray(values) && values.length <= MOST && values.every(isDab),
  );
  let held = false;
  let before; // what a swipe that scrolls the page must leave as it was
  const move = (event) => {
    const box = canvas.getBoundingClientRect();
    brush = [((event.clientX - box.left) / box.width) * 2 - 1, 1 - (2 * (event.clientY - box.top)) / box.height].map(
      (v) => clamp(v * EXTENT, -EXTENT, EXTENT),
    );
    if (held) dab();
    figure.redraw();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    event.preventDefault();
    held = true;
    before = [dabs, preset.select.value];
    move(event);
  });
  canvas.addEventListener("pointermove", move);
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      held = false;
      if (name === "pointercancel" && dabs !== before[0]) {
        [dabs, preset.select.value] = before;
        change();
      }
      animate ||= requestAnimationFrame(work);
    });
  }
  const KEYS = { ArrowUp: [0, 0.1], ArrowDown: [0, -0.1], ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0] };
  canvas.addEventListener("keydown", (event) => {
    const by = KEYS[event.key];
    if (by) brush = brush.map((v, i) => clamp(v + by[i], -EXTENT, EXTENT));
    else if (event.key === "Enter" || event.key === " ") dab();
    else if (event.key === "Backspace") undo();
    else return;
    event.preventDefault();
    figure.redraw();
  });

  const preset = figure.presetChooser({
    label: "Likelihood",
    names: Object.keys(PRESETS),
    value: "two spots",
    set: (name) => (dabs = PRESETS[name].slice()),
    after: change,
  });
  const thick = figure.slider({
    label: "Brush",
    min: 0.15,
    max: 0.6,
    step: 0.05,
    value: width,
    format: (v) => v.toFixed(2),
    set: (value) => (width = value),
    after: change,
  });
  const steps = figure.chooser({
    label: "Steps T",
    options: ["10", "20", "40", "80"],
    value: String(T),
    set: (value) => (T = Number(value)),
    after: restart,
  });
  let wait = 0;
  const play = figure.playButton((seconds) => {
    wait -= seconds;
    if (wait > 0) return;
    wait = isCalm() ? 0.3 : 0.06;
    if (chains[0].t === 0) {
      play.set(false);
      return;
    }
    chains.forEach((chain) => chain.step());
    if (chains[0].t === 0) play.set(false);
    figure.redraw();
  });
  play.button.addEventListener("click", () => {
    if (play.button.textContent !== "Pause")
      animate ||= requestAnimationFrame(work); // finish what was paused
    else if (chains[0].t === 0) restart();
  });
  const again = button("New draws", () => (seed += 1), restart);
  figure.add(
    html(
      "div",
      { class: "dpm-stage" },
      html("div", { class: "dpm-live" }, canvas),
      html(
        "div",
        { class: "dpm-panel" },
        title("Paint what you know"),
        html(
          "p",
          { class: "dpm-about" },
          "Green: the likelihood. Violet: draws of the exact posterior. Blue: the centres of the roll.",
        ),
        controls(preset, thick),
        html("div", { class: "dpm-controls" }, button("Take back", undo), play.button, again),
        controls(steps),
        detail,
      ),
    ),
    html("div", { class: "dpm-four" }, ...panels.map(({ node }) => node)),
  );
  change();
  const { close } = figure;
  figure.close = () => {
    cancelAnimationFrame(animate);
    close();
  };
  return figure.close;
}

export default live(render);
