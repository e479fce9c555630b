// A beta schedule to bend, above the bars of KL_t that it causes; their sum is what the bound loses.

import { clamp, controls, draggable, html, numbers, openFigure, renew, svg } from "./common.js";
import {
  fixed,
  handle,
  inBits,
  keySteps,
  minus,
  moveHandle,
  openPlot,
  power,
  rect,
  scales,
  sharesAt,
  short,
} from "./plot.js";
import { live } from "./view.js";

const SMALLEST = 1e-9;
const HANDLES = 7;

/** log c at log tau, for each sample and dimension: linear between the table's rows, held at its ends. */
function interpolated(table, form, logTau, out) {
  const { logTauGrid, logC } = table;
  const rows = logTauGrid.length;
  const width = logC[form].length / rows;
  const step = (logTauGrid[rows - 1] - logTauGrid[0]) / (rows - 1);
  const place = clamp((logTau - logTauGrid[0]) / step, 0, rows - 1);
  const row = Math.min(Math.floor(place), rows - 2);
  const part = place - row;
  for (let i = 0; i < width; i++) {
    const low = logC[form][row * width + i];
    out[i] = low + part * (logC[form][(row + 1) * width + i] - low);
  }
  return width;
}

/**
 * The bound, in nats, of the best Gaussian reverse kernel whose covariance has this form.
 *
 * beta: beta_1, ..., beta_T. table: { d, logTauGrid, logC: { form: (G, S, d) flat } }, the logarithms of the
 * variances c of x_0 given x_t, at S samples of x_t. With tau_t = 1 / alpha_bar_t - 1,
 *   KL_t = 1/2 mean over samples of sum_i log(1 + (1 / tau_{t-1} - 1 / tau_t) c_i(tau_t)),   t = 2, ..., T
 *   K = H(X_T | X_0) - H(X_1 | X_0) - H(N(0, I)) - sum_t KL_t.
 */
export function scheduleBars(beta, table, form) {
  const { d, logC } = table;
  const T = beta.length;
  const kl = new Float64Array(T + 1); // kl[t] is KL_t; kl[0] and kl[1] stay 0
  const logVariance = new Float64Array(logC[form].length / table.logTauGrid.length);
  let logAlphaBar = 0;
  let tauBefore = 0;
  let total = 0;
  for (let t = 1; t <= T; t++) {
    logAlphaBar += Math.log1p(-clamp(beta[t - 1], SMALLEST, 1 - SMALLEST));
    const tau = Math.expm1(-logAlphaBar);
    if (t > 1) {
      const width = interpolated(table, form, Math.log(tau), logVariance);
      const gain = 1 / tauBefore - 1 / tau;
      let sum = 0;
      for (let i = 0; i < width; i++) sum += Math.log1p(gain * Math.exp(logVariance[i]));
      kl[t] = (0.5 * sum * d) / width;
      total += kl[t];
    }
    tauBefore = tau;
  }
  const entropy = (variance) => (d / 2) * (Math.log(2 * Math.PI * variance) + 1);
  const first = clamp(beta[0], SMALLEST, 1 - SMALLEST);
  const edges = entropy(-Math.expm1(logAlphaBar)) - entropy(first) - entropy(1);
  return { kl, total, edges, K: edges - total };
}

/** Multiplies beta by `factor` at step t, fading to 1 at the neighbouring handles (in steps, 1-based). */
export function bend(beta, t, left, right, factor) {
  return beta.map((value, i) => {
    const step = i + 1;
    const reach = step < t ? t - left : right - t;
    const distance = step === t ? 0 : Math.abs(step - t) / reach;
    if (step === 1 || distance >= 1) return value;
    const weight = 0.5 * (1 + Math.cos(Math.PI * distance));
    return clamp(value * factor ** weight, SMALLEST, 1 - SMALLEST);
  });
}

const brief = (value) => (value < 0.001 ? minus(value.toExponential(1)) : value.toPrecision(2));

function render({ model, el }) {
  const figure = openFigure(model, el, "schedule");
  let table;
  let presets;
  let beta;
  let T;
  let handles;
  let low;
  let limit;
  let form = model.get("forms")[0];
  let chosen = 1; // the bar whose numbers are shown; none while below 2

  function read() {
    const sizes = model.get("log_c_sizes");
    const all = numbers(model.get("log_c"), Float32Array);
    const logC = {};
    let start = 0;
    model.get("forms").forEach((name, k) => {
      logC[name] = all.subarray(start, (start += sizes[k]));
    });
    if (start !== all.length) throw new Error("the saved table of this figure is incomplete");
    table = { d: model.get("d"), logTauGrid: model.get("log_tau_grid"), logC };
    presets = model.get("presets");
    limit = model.get("limit_bits");
    beta = Float64Array.from(model.get("beta"));
    T = beta.length;
    const smallest = Math.min(
      ...beta,
      ...Object.values(presets)
        .flat()
        .map((b) => Math.max(b, SMALLEST)),
    );
    low = Math.floor(Math.log10(smallest) - 0.3);
    const count = Math.min(HANDLES, T - 1);
    handles = Array.from({ length: count }, (_, k) => Math.round(2 + ((T - 2) * k) / Math.max(1, count - 1)));
  }
  read();

  // --- The page ---
  const curve = openPlot(figure, "dpm-curve", "The schedule", "group");
  const bars = openPlot(figure, "dpm-bars", "KL of step", "slider");
  bars.setAttribute("tabindex", 0);
  const detail = html("p", { class: "dpm-detail" });
  const results = Object.fromEntries(["K", "limit", "gap"].map((key) => [key, html("b", { class: "dpm-value" })]));
  const preset = figure.chooser({
    label: "Schedule",
    options: [],
    value: "",
    set: (name) => {
      if (name in presets) setBeta(Float64Array.from(presets[name]), name);
    },
  });
  const shape = figure.chooser({
    label: "Covariance",
    options: model.get("forms"),
    value: form,
    set: (name) => (form = name),
  });
  figure.add(
    controls(preset, shape),
    html(
      "p",
      { class: "dpm-title" },
      "Schedule β",
      html("sub", {}, "t"),
      html("span", { class: "dpm-unit" }, " drag a point, or use the arrow keys; β₁ (square) is fixed"),
    ),
    curve,
    html(
      "p",
      { class: "dpm-title" },
      "KL",
      html("sub", {}, "t"),
      html("span", { class: "dpm-unit" }, " bits erased by each step"),
    ),
    bars,
    detail,
    html(
      "p",
      { class: "dpm-results" },
      html("span", {}, "K = ", results.K, " bits"),
      html("span", {}, "limit −H(X", html("sub", {}, "0"), ") = ", results.limit, " bits"),
      html("span", {}, "gap = ", results.gap, " bits"),
    ),
  );

  function listPresets() {
    const names = [...Object.keys(presets), "your own"];
    preset.select.replaceChildren(
      ...names.map((name) => html("option", { value: name, disabled: !(name in presets) }, name)),
    );
  }
  function setBeta(next, name = "your own") {
    beta = next;
    preset.select.value = name;
    figure.redraw();
  }
  function nameOf(values) {
    const same = (name) => presets[name].every((b, i) => Math.abs(b - values[i]) <= 1e-12 * b);
    return Object.keys(presets).find(same) ?? "your own";
  }

  const MARGINS = { left: 40, right: 10, top: 10, bottom: 20, gap: 6, foot: 5 };
  const logOf = (b) => Math.log10(clamp(b, SMALLEST, 1));
  function timeAxis(plot) {
    const every = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((step) => T / step <= 10) ?? T;
    const times = Array.from({ length: T }, (_, i) => i + 1).filter((t) => t === 1 || t % every === 0);
    return [plot.axis(), ...plot.marks(times, (t) => (t === 1 ? "t = 1" : t))];
  }

  // --- The curve and its handles ---
  figure.keep(
    "beta",
    () => handles.map((t) => logOf(beta[t - 1])),
    (values) =>
      handles.forEach((t, k) => {
        const wanted = clamp(10 ** values[k], SMALLEST, 1 - SMALLEST);
        setBeta(bend(beta, t, handles[k - 1] ?? 1, handles[k + 1] ?? T + 1, wanted / beta[t - 1]));
      }),
  );
  const knobs = [];
  const backdrop = svg("g");
  function makeHandles() {
    knobs.length = 0;
    handles.forEach((t, k) => {
      const node = handle({ label: `beta ${t}`, min: low, max: 0, orientation: "vertical" });
      const multiply = (factor) => {
        const left = handles[k - 1] ?? 1;
        const right = handles[k + 1] ?? T + 1;
        setBeta(bend(beta, t, left, right, factor));
      };
      const drag = (event) => {
        const decades = low * (1 - clamp(sharesAt(event, curve, MARGINS).y, 0, 1));
        multiply(clamp(10 ** decades, SMALLEST, 1 - SMALLEST) / beta[t - 1]);
      };
      draggable(node, { keys: keySteps(0.05, 0.5), step: (decades) => multiply(10 ** decades), drag });
      knobs.push({ t, node });
    });
    curve.replaceChildren(backdrop, ...knobs.map((knob) => knob.node));
  }

  function drawCurve() {
    const plot = scales(curve, MARGINS, [0.5, T + 0.5], [low, 0]);
    const decades = Array.from({ length: -low + 1 }, (_, i) => -i).filter((k) => low > -5 || k % 2 === 0);
    const square = rect("dpm-fixed", plot.x(1) - 4, plot.y(logOf(beta[0])) - 4, 8, 8);
    square.append(svg("title", {}, `beta 1 = ${brief(beta[0])}, fixed`));
    renew(
      backdrop,
      ...plot.rows(decades, power),
      ...timeAxis(plot),
      plot.curve("dpm-line", beta, (b, i) => [i + 1, logOf(b)]),
      square,
    );
    for (const { t, node } of knobs) {
      const b = beta[t - 1];
      moveHandle(node, plot.x(t), plot.y(logOf(b)), Math.log10(b).toFixed(2), brief(b));
    }
  }

  // --- The bars: one stop for the keyboard, arrow keys go from bar to bar ---
  let ceiling = 0.01;
  function drawBars(kl) {
    const highest = Math.max(...kl.map(inBits), 1e-4);
    if (highest > ceiling || highest < 0.3 * ceiling) ceiling = roundUp(highest); // a steady scale while dragging
    const plot = scales(bars, MARGINS, [0.5, T + 0.5], [0, ceiling], { held: "y" });
    const times = Array.from({ length: T - 1 }, (_, i) => i + 2);
    const kindOf = (t) => (t === chosen ? "dpm-bar dpm-chosen" : "dpm-bar");
    renew(
      bars,
      ...plot.rows([0, 0.5 * ceiling, ceiling], short),
      ...timeAxis(plot),
      ...times.map((t) => plot.bar(kindOf(t), t - 0.4, t + 0.4, inBits(kl[t]))),
    );
  }
  function roundUp(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 4, 6, 10].find((m) => m * power >= 1.02 * value) * power || 10 * power;
  }
  function choose(t) {
    chosen = clamp(t, 2, T);
    figure.redraw();
  }
  figure.keep(
    "step",
    () => chosen,
    (t) => (chosen = clamp(Math.round(t), 1, T)),
  );
  const point = (event) => choose(Math.round(sharesAt(event, bars, MARGINS).x * T + 0.5));
  bars.addEventListener("pointermove", point);
  bars.addEventListener("pointerdown", point);
  bars.addEventListener("focus", () => chosen < 2 && choose(2));
  bars.addEventListener("keydown", (event) => {
    const by = keySteps(1, 10, Infinity)[event.key];
    if (by === undefined) return;
    event.preventDefault();
    choose(chosen + by);
  });

  figure.draw = () => {
    const { kl, total, K } = scheduleBars(beta, table, form);
    drawCurve();
    drawBars(kl);
    const sum = `The ${T - 1} bars add up to ${fixed(inBits(total))} bits.`;
    const one = `Step ${chosen}: β = ${brief(beta[chosen - 1])}, KL = ${brief(inBits(kl[chosen]))} bits.`;
    detail.textContent = chosen < 2 ? `${sum} Point at a bar for its numbers.` : `${sum} ${one}`;
    bars.setAttribute("aria-valuemin", 2);
    bars.setAttribute("aria-valuemax", T);
    bars.setAttribute("aria-valuenow", Math.max(2, chosen));
    bars.setAttribute("aria-valuetext", one);
    results.K.textContent = fixed(inBits(K));
    results.limit.textContent = fixed(limit);
    results.gap.textContent = fixed(limit - inBits(K));
    figure.root.dataset.k = inBits(K);
  };

  listPresets();
  makeHandles();
  setBeta(beta, nameOf(beta));
  figure.onChange("beta presets log_c limit_bits", () => {
    read();
    listPresets();
    makeHandles();
    setBeta(beta, nameOf(beta));
  });
  return figure.close;
}

export default live(render);
