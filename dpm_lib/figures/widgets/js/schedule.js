// A beta schedule to bend, above the bars of KL_t that it causes; their sum is what the bound loses.

import { clamp, controls, draggable, html, numbers, openFigure, svg } from "./common.js";

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

const bits = (nats) => nats / Math.LN2;
const fixed = (value, digits = 3) => value.toFixed(digits).replace("-", "−");
const short = (value) => (value < 0.001 ? value.toExponential(1).replace("-", "−") : value.toPrecision(2));

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
  const curve = svg("svg", { class: "dpm-plot dpm-curve", role: "group", "aria-label": "The schedule" });
  const bars = svg("svg", { class: "dpm-plot dpm-bars", role: "slider", tabindex: 0, "aria-label": "KL of step" });
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

  // --- Places on the plots, in CSS pixels ---
  const LEFT = 40;
  const RIGHT = 10;
  const TOP = 10;
  const BOTTOM = 20;
  const sizeOf = (plot) => ({ width: plot.clientWidth || 600, height: plot.clientHeight || 150 });
  const slot = (width) => (width - LEFT - RIGHT) / T;
  const xOf = (t, width) => LEFT + slot(width) * (t - 0.5);
  const yOfBeta = (b, height) => TOP + (height - TOP - BOTTOM) * (Math.log10(clamp(b, SMALLEST, 1)) / low);

  const text = (x, y, words, anchor = "end") => svg("text", { x, y, "text-anchor": anchor }, words);
  const line = (x1, y1, x2, y2, kind) => svg("line", { x1, y1, x2, y2, class: kind });
  function timeAxis(width, height) {
    const every = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((step) => T / step <= 10) ?? T;
    const times = Array.from({ length: T }, (_, i) => i + 1).filter((t) => t === 1 || t % every === 0);
    return [
      line(LEFT, height - BOTTOM, width - RIGHT, height - BOTTOM, "dpm-axis"),
      ...times.map((t) => text(xOf(t, width), height - 5, t === 1 ? "t = 1" : t, "middle")),
    ];
  }

  // --- The curve and its handles ---
  const knobs = [];
  const backdrop = svg("g");
  function makeHandles() {
    knobs.length = 0;
    handles.forEach((t, k) => {
      const node = svg(
        "g",
        {
          class: "dpm-handle",
          role: "slider",
          tabindex: 0,
          "aria-label": `beta ${t}`,
          "aria-orientation": "vertical",
          "aria-valuemin": low,
          "aria-valuemax": 0,
        },
        svg("circle", { r: 15, class: "dpm-grip" }),
        svg("circle", { r: 6 }),
      );
      const multiply = (factor) => {
        const left = handles[k - 1] ?? 1;
        const right = handles[k + 1] ?? T + 1;
        setBeta(bend(beta, t, left, right, factor));
      };
      const keys = { ArrowUp: 0.05, ArrowRight: 0.05, ArrowDown: -0.05, ArrowLeft: -0.05, PageUp: 0.5, PageDown: -0.5 };
      const drag = (event) => {
        const box = curve.getBoundingClientRect();
        const part = (event.clientY - box.top - TOP) / (box.height - TOP - BOTTOM);
        multiply(clamp(10 ** (low * clamp(part, 0, 1)), SMALLEST, 1 - SMALLEST) / beta[t - 1]);
      };
      draggable(node, { keys, step: (decades) => multiply(10 ** decades), drag });
      knobs.push({ t, node });
    });
    curve.replaceChildren(backdrop, ...knobs.map((knob) => knob.node));
  }

  function drawCurve() {
    const { width, height } = sizeOf(curve);
    const decades = Array.from({ length: -low + 1 }, (_, i) => -i).filter((power) => low > -5 || power % 2 === 0);
    const grid = decades.flatMap((power) => {
      const y = yOfBeta(10 ** power, height);
      const label = power === 0 ? "1" : `10${[...String(-power)].reduce((all, c) => all + "⁰¹²³⁴⁵⁶⁷⁸⁹"[c], "⁻")}`;
      return [line(LEFT, y, width - RIGHT, y, "dpm-grid"), text(LEFT - 6, y + 4, label)];
    });
    const path = Array.from(beta, (b, i) => `${xOf(i + 1, width)},${yOfBeta(b, height)}`);
    const [fixedX, fixedY] = path[0].split(",").map(Number);
    backdrop.replaceChildren(
      ...grid,
      ...timeAxis(width, height),
      svg("polyline", { points: path.join(" "), class: "dpm-line" }),
      svg(
        "rect",
        { x: fixedX - 4, y: fixedY - 4, width: 8, height: 8, class: "dpm-fixed" },
        svg("title", {}, `beta 1 = ${short(beta[0])}, fixed`),
      ),
    );
    for (const { t, node } of knobs) {
      node.setAttribute("transform", `translate(${xOf(t, width)} ${yOfBeta(beta[t - 1], height)})`);
      node.setAttribute("aria-valuenow", Math.log10(beta[t - 1]).toFixed(2));
      node.setAttribute("aria-valuetext", short(beta[t - 1]));
    }
  }

  // --- The bars: one stop for the keyboard, arrow keys go from bar to bar ---
  let ceiling = 0.01;
  function drawBars(kl) {
    const { width, height } = sizeOf(bars);
    const highest = Math.max(...kl.map(bits), 1e-4);
    if (highest > ceiling || highest < 0.3 * ceiling) ceiling = roundUp(highest); // a steady scale while dragging
    const yOf = (value) => height - BOTTOM - (height - TOP - BOTTOM) * Math.min(1, value / ceiling);
    const ticks = [0, 0.5, 1].map((part) => part * ceiling);
    bars.replaceChildren(
      ...ticks.flatMap((tick) => [
        line(LEFT, yOf(tick), width - RIGHT, yOf(tick), "dpm-grid"),
        text(LEFT - 6, yOf(tick) + 4, String(Number(tick.toPrecision(2)))),
      ]),
      ...timeAxis(width, height),
      ...Array.from({ length: T - 1 }, (_, i) => i + 2).map((t) => {
        const top = yOf(bits(kl[t]));
        const box = {
          x: xOf(t, width) - 0.4 * slot(width),
          y: top,
          width: 0.8 * slot(width),
          height: height - BOTTOM - top,
        };
        return svg("rect", { ...box, class: t === chosen ? "dpm-bar dpm-chosen" : "dpm-bar" });
      }),
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
  const point = (event) => {
    const box = bars.getBoundingClientRect();
    choose(Math.round((event.clientX - box.left - LEFT) / slot(box.width) + 0.5));
  };
  bars.addEventListener("pointermove", point);
  bars.addEventListener("pointerdown", point);
  bars.addEventListener("focus", () => chosen < 2 && choose(2));
  bars.addEventListener("keydown", (event) => {
    const next = {
      ArrowRight: chosen + 1,
      ArrowUp: chosen + 1,
      ArrowLeft: chosen - 1,
      ArrowDown: chosen - 1,
      PageUp: chosen + 10,
      PageDown: chosen - 10,
      Home: 2,
      End: T,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(next);
  });

  figure.draw = () => {
    const { kl, total, K } = scheduleBars(beta, table, form);
    drawCurve();
    drawBars(kl);
    const sum = `The ${T - 1} bars add up to ${fixed(bits(total))} bits.`;
    const one = `Step ${chosen}: β = ${short(beta[chosen - 1])}, KL = ${short(bits(kl[chosen]))} bits.`;
    detail.textContent = chosen < 2 ? `${sum} Point at a bar for its numbers.` : `${sum} ${one}`;
    bars.setAttribute("aria-valuemin", 2);
    bars.setAttribute("aria-valuemax", T);
    bars.setAttribute("aria-valuenow", Math.max(2, chosen));
    bars.setAttribute("aria-valuetext", one);
    results.K.textContent = fixed(bits(K));
    results.limit.textContent = fixed(limit);
    results.gap.textContent = fixed(limit - bits(K));
    figure.root.dataset.k = bits(K);
  };

  listPresets();
  makeHandles();
  setBeta(beta, nameOf(beta));
  figure.onResize(curve);
  figure.onChange("beta presets log_c limit_bits", () => {
    read();
    listPresets();
    makeHandles();
    setBeta(beta, nameOf(beta));
  });
  return figure.close;
}

export default { render };
