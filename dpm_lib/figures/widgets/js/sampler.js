// A trained network sampling in the page: the reverse chain, one step at a time, in plain JavaScript.

import {
  button,
  controls,
  drawPoints,
  fillNormals,
  fixedPoint,
  html,
  isCalm,
  numbers,
  openFigure,
  openSquare,
  uniforms,
} from "./common.js";
import { live } from "./view.js";

/**
 * The network and the chain as `reverseStep` wants them.
 * weights: Float32Array [B (d, F), w (E), then W (out, in) and b (out) of each layer], row-major.
 * logTau: Float64Array of T + 1; tau_t = 1 / alpha_bar_t - 1, so logTau[0] is -Infinity.
 */
export function readModel({ weights, shapes, d, F, E, covariance, logTau }) {
  let start = 0;
  const take = (length) => weights.subarray(start, (start += length));
  const B = take(d * F);
  const w = take(E);
  const layers = shapes.map(([out, inputs]) => ({ out, inputs, W: take(out * inputs), b: take(out) }));
  if (start !== weights.length) throw new Error(`${weights.length} weights where the shapes need ${start}`);
  return { d, F, E, B, w, layers, covariance, logTau, T: logTau.length - 1 };
}

/** out = W[:, :columns] h + b for n points; four outputs at a time, so that each input is read less often. */
function linear(h, n, columns, { out, inputs, W }, b, result) {
  for (let o = 0; o < out; o += 4) {
    const last = out - 1;
    const [p, q, r] = [Math.min(o + 1, last), Math.min(o + 2, last), Math.min(o + 3, last)];
    const [wo, wp, wq, wr] = [o * inputs, p * inputs, q * inputs, r * inputs];
    for (let k = 0; k < n; k++) {
      const row = k * columns;
      let so = b[o];
      let sp = b[p];
      let sq = b[q];
      let sr = b[r];
      for (let i = 0; i < columns; i++) {
        const value = h[row + i];
        so += W[wo + i] * value;
        sp += W[wp + i] * value;
        sq += W[wq + i] * value;
        sr += W[wr + i] * value;
      }
      const at = k * out;
      result[at + r] = sr;
      result[at + q] = sq;
      result[at + p] = sp;
      result[at + o] = so;
    }
  }
  return result;
}

function silu(h) {
  for (let i = 0; i < h.length; i++) h[i] /= 1 + Math.exp(-h[i]);
}

/**
 * The network's output at n points x (flat, n * d), all at the same log tau: flat, n * (d + raw).
 * Its input is [x, sin(x B), cos(x B), sin(w log tau), cos(w log tau)]; the part that depends on tau alone is
 * the same for every point, and joins the first layer's bias.
 */
export function networkForward(x, n, logTau, { d, F, E, B, w, layers }) {
  const columns = d + 2 * F;
  let h = new Float32Array(n * columns);
  for (let k = 0; k < n; k++) {
    const row = k * columns;
    for (let i = 0; i < d; i++) h[row + i] = x[k * d + i];
    for (let f = 0; f < F; f++) {
      let angle = 0;
      for (let i = 0; i < d; i++) angle += x[k * d + i] * B[i * F + f];
      h[row + d + f] = Math.sin(angle);
      h[row + d + F + f] = Math.cos(angle);
    }
  }
  layers.forEach((layer, index) => {
    const { out, inputs, W, b } = layer;
    let bias = b;
    let width = inputs;
    if (index === 0) {
      width = columns;
      bias = Float64Array.from(b, (value, o) => {
        for (let e = 0; e < E; e++) {
          const angle = logTau * w[e];
          value += W[o * inputs + columns + e] * Math.sin(angle) + W[o * inputs + columns + E + e] * Math.cos(angle);
        }
        return value;
      });
    }
    h = linear(h, n, width, layer, bias, new Float32Array(n * out));
    if (index < layers.length - 1) silu(h);
  });
  return h;
}

/** The lower triangle of `raw`: exp of the first d on the diagonal, the rest below it, row by row. */
function readTriangle(raw, start, d, full, L) {
  let next = start + d;
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < i; j++) L[i * d + j] = full ? raw[next++] : 0;
    L[i * d + i] = Math.exp(raw[start + i]);
  }
}

/** Replaces the lower triangle of the symmetric matrix A (d, d) by its Cholesky factor. */
function cholesky(A, d) {
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = A[i * d + j];
      for (let k = 0; k < j; k++) sum -= A[i * d + k] * A[j * d + k];
      A[i * d + j] = i === j ? Math.sqrt(sum) : sum / A[j * d + j];
    }
  }
}

/**
 * One step of the reverse chain, from x_t to x_{t-1}, for the points x (flat, n * d) with standard normal noise.
 *   x0 = sqrt(alpha_bar_t) x + sqrt(1 - alpha_bar_t) f,   C = (1 - alpha_bar_t) L L',   r = tau_{t-1} / tau_t
 *   mean = sqrt(alpha_bar_{t-1}) (r x / sqrt(alpha_bar_t) + (1 - r) x0)
 *   covariance = alpha_bar_{t-1} (tau_{t-1} (1 - r) I + (1 - r)^2 C)
 * The last step is fixed: x_0 ~ N(sqrt(1 - beta_1) x_1, beta_1 I).
 */
export function reverseStep(x, t, noise, model) {
  const { d, covariance, logTau } = model;
  const n = x.length / d;
  const result = new Float32Array(x.length);
  const tau = Math.exp(logTau[t]);
  const alphaBar = 1 / (1 + tau);
  const spread = tau / (1 + tau); // 1 - alpha_bar_t, without cancellation
  if (t === 1) {
    for (let i = 0; i < x.length; i++) result[i] = Math.sqrt(alphaBar) * x[i] + Math.sqrt(spread) * noise[i];
    return result;
  }
  const before = Math.exp(logTau[t - 1]);
  const scale = Math.sqrt(1 / (1 + before));
  const r = Math.exp(logTau[t - 1] - logTau[t]);
  const gap = -Math.expm1(logTau[t - 1] - logTau[t]); // 1 - r
  const output = networkForward(x, n, logTau[t], model);
  const columns = output.length / n;
  const L = new Float64Array(d * d);
  const V = new Float64Array(d * d);
  for (let k = 0; k < n; k++) {
    readTriangle(output, k * columns + d, d, covariance === "full", L);
    for (let i = 0; i < d; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = 0;
        for (let m = 0; m <= j; m++) sum += L[i * d + m] * L[j * d + m];
        V[i * d + j] = gap * gap * spread * sum + (i === j ? before * gap : 0);
      }
    }
    cholesky(V, d);
    for (let i = 0; i < d; i++) {
      const at = k * d + i;
      const x0 = Math.sqrt(alphaBar) * x[at] + Math.sqrt(spread) * output[k * columns + i];
      let value = (r * x[at]) / Math.sqrt(alphaBar) + gap * x0;
      for (let j = 0; j <= i; j++) value += V[i * d + j] * noise[k * d + j];
      result[at] = scale * value;
    }
  }
  return result;
}

function render({ model, el }) {
  const figure = openFigure(model, el, "sampler");
  const { root, colours } = figure;
  let chain;
  let target;
  let extent;
  let x;
  let t;
  let uniform;
  let seed = 1;
  let count = 1000;
  let noisy = true;
  let perSecond = 10;
  let wait = 0;
  let elapsed = 0;

  function read() {
    const fields = Object.fromEntries(["shapes", "d", "F", "E", "covariance"].map((name) => [name, model.get(name)]));
    const weights = numbers(model.get("weights"), Float32Array);
    chain = readModel({ ...fields, weights, logTau: numbers(model.get("log_tau"), Float64Array) });
    target = fixedPoint(model.get("target"), model.get("scale"));
    extent = model.get("extent");
  }
  read();

  function restart() {
    uniform = uniforms(seed);
    x = fillNormals(new Float32Array(2 * count), uniform);
    t = chain.T;
    elapsed = wait = 0;
    figure.redraw();
  }
  function step() {
    if (t === 0) return;
    const start = performance.now();
    const noise = fillNormals(new Float32Array(x.length), uniform);
    x = reverseStep(x, t, noisy ? noise : noise.fill(0), chain);
    t -= 1;
    elapsed += performance.now() - start;
    if (t === 0) play.set(false);
    figure.redraw();
  }

  const canvas = figure.canvas("Samples of the model over faint points of the data");
  const readout = html("p", { class: "dpm-detail" });
  figure.draw = () => {
    const square = openSquare(canvas, extent, colours.panel);
    drawPoints(square, target, target.length / 2, { colour: colours.data, size: 1.6, alpha: 0.45 });
    drawPoints(square, x, count, { colour: colours.model, size: 2.2, alpha: 0.75 });
    const done = chain.T - t;
    const pace = done ? `, ${(elapsed / done).toFixed(1)} ms a step` : "";
    readout.textContent = `t = ${t} of ${chain.T}. ${count} points, noise no. ${seed}${pace}.`;
    root.dataset.t = t;
    root.dataset.seed = seed;
  };

  const play = figure.playButton((seconds) => {
    if (t === 0) restart();
    wait -= seconds;
    if (wait > 0) return;
    wait = Math.max(0, wait + (isCalm() ? 2 : 1) / perSecond);
    step();
  });
  const size = figure.slider({
    label: "Points",
    min: 100,
    max: 2000,
    step: 100,
    value: count,
    set: (value) => (count = value),
    after: restart,
  });
  const pace = figure.chooser({
    label: "Steps a second",
    options: [
      ["2", "2"],
      ["5", "5"],
      ["10", "10"],
      ["60", "60"],
    ],
    value: "10",
    set: (value) => {
      perSecond = Number(value);
      wait = 0;
    },
  });
  const switchNoise = figure.checkbox({
    label: "Add noise at each step",
    checked: true,
    set: (value) => (noisy = value),
  });
  const again = button("New noise", () => {
    seed += 1;
    restart();
    play.set(true);
  });

  figure.add(
    html(
      "div",
      { class: "dpm-stage" },
      html("div", { class: "dpm-live" }, canvas),
      html(
        "div",
        { class: "dpm-panel" },
        html("div", { class: "dpm-controls" }, play.button, button("Step", step), again),
        controls(pace),
        controls(size),
        controls(switchNoise),
        readout,
      ),
    ),
  );
  restart();
  figure.onChange("weights shapes log_tau target scale extent covariance", () => {
    read();
    restart();
  });
  return figure.close;
}

export default live(render);
