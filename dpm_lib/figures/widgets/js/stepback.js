// One step of a diffusion, run backwards by Bayes, against the best Gaussian.

import { clamp, controls, draggable, html, openFigure, svg } from "./common.js";

const LOG_2PI = Math.log(2 * Math.PI);
const normalPdf = (x, mean, variance) => Math.exp(-0.5 * ((x - mean) ** 2 / variance + LOG_2PI + Math.log(variance)));

/** log of (N(x; -1, std^2) + N(x; 1, std^2)) / 2. */
export function twoClumps(x, std) {
  const far = Math.abs(x) / std ** 2;
  return -0.5 * ((x * x + 1) / std ** 2 + LOG_2PI) - Math.log(std) + far + Math.log1p(Math.exp(-2 * far)) - Math.log(2);
}

/** The third derivative of that log density. */
export function thirdDerivative(x, std) {
  const at = x / std ** 2;
  return (-2 * Math.tanh(at)) / Math.cosh(at) ** 2 / std ** 6;
}

/** The density of x_{t-1} given x_t on [-reach, reach], its moments, and its KL (nats) from the best normal. */
export function stepBack(std, xt, beta, reach = 9, cells = 9000) {
  const h = (2 * reach) / cells;
  const shrink = Math.sqrt(1 - beta);
  const y = Float64Array.from({ length: cells + 1 }, (_, k) => -reach + k * h);
  const log = y.map((v) => twoClumps(v, std) - (0.5 * (xt - shrink * v) ** 2) / beta);
  const top = log.reduce((a, b) => Math.max(a, b));
  const p = log.map((v) => Math.exp(v - top));
  const total = p.reduce((a, b) => a + b, 0) * h;
  let mean = 0;
  let variance = 0;
  let kl = 0;
  for (let k = 0; k <= cells; k++) mean += (p[k] / total) * y[k] * h;
  for (let k = 0; k <= cells; k++) variance += (p[k] / total) * (y[k] - mean) ** 2 * h;
  for (let k = 0; k <= cells; k++) {
    p[k] /= total;
    const gap = log[k] - top - Math.log(total) + 0.5 * ((y[k] - mean) ** 2 / variance + LOG_2PI + Math.log(variance));
    if (p[k] > 0) kl += p[k] * gap * h;
  }
  return { y, p, mean, variance, kl };
}

// --- The figure. ---

const LOW = -3;
const HIGH = -0.05; // log10 beta
const REACH = 2.2;

const scientific = (value) => {
  if (value >= 0.001) return value.toPrecision(2);
  const power = Math.floor(Math.log10(value));
  return `${(value / 10 ** power).toFixed(1)} × 10${[...String(power)].map((c) => ({ "-": "⁻" })[c] ?? "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join("")}`;
};

function render({ model, el }) {
  const figure = openFigure(model, el, "stepback");
  let xt = model.get("x_t");
  let beta = model.get("beta");
  let std = model.get("std");
  let zoom = false;
  let curve;

  const view = svg("svg", {
    class: "dpm-plot dpm-view",
    role: "img",
    "aria-label": "The data, the exact step back, and the best Gaussian",
  });
  const cost = svg("svg", {
    class: "dpm-plot dpm-cost",
    role: "img",
    "aria-label": "KL from the best Gaussian, against beta, both on log scales",
  });
  const handle = svg("svg", { class: "dpm-plot dpm-rail", role: "group", "aria-label": "Where x_t is" });
  const keys = html(
    "p",
    { class: "dpm-detail dpm-keys" },
    html("span", { class: "dpm-ink-muted" }, "data"),
    html("span", { class: "dpm-ink-data" }, "exact step back"),
    html("span", { class: "dpm-ink-model" }, "best Gaussian"),
  );
  const now = html("p", { class: "dpm-now" });
  const text = (x, y, words, anchor = "middle") => svg("text", { x, y, "text-anchor": anchor }, words);
  const path = (points, kind) =>
    svg("polyline", { points: points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" "), class: kind });

  /** KL against beta for this x_t and width of the clumps. */
  function sweep() {
    curve = Array.from({ length: 41 }, (_, k) => {
      const power = LOW + ((HIGH - LOW) * k) / 40;
      return [power, Math.log10(Math.max(stepBack(std, xt, 10 ** power).kl, 1e-16))];
    });
  }
  function drawView({ y, p, mean, variance }) {
    const width = view.clientWidth || 600;
    const height = view.clientHeight || 200;
    const base = height - 20;
    const half = zoom ? Math.min(REACH, 5 * Math.sqrt(variance)) : REACH;
    const centre = zoom ? mean : 0;
    const x = (v) => (width * (v - centre + half)) / (2 * half);
    const spacing = y[1] - y[0];
    const shown = Array.from({ length: 301 }, (_, k) => centre - half + (2 * half * k) / 300);
    const exact = shown.map((v) => {
      const at = clamp((v - y[0]) / spacing, 0, y.length - 2);
      const k = Math.floor(at);
      return [v, p[k] + (at - k) * (p[k + 1] - p[k])];
    });
    const fit = shown.map((v) => [v, normalPdf(v, mean, variance)]);
    const data = shown.map((v) => [v, Math.exp(twoClumps(v, std))]);
    const peak = Math.max(...exact.map(([, d]) => d), ...fit.map(([, d]) => d));
    const tall = Math.max(...data.map(([, d]) => d)) || 1;
    const place = (points, top) => points.map(([v, d]) => [x(v), base - (base - 8) * (d / top)]);
    const step = zoom ? 10 ** Math.floor(Math.log10(half)) : 1;
    const marks = [];
    for (let v = Math.ceil((centre - half) / step) * step; v <= centre + half; v += step)
      marks.push(text(x(v), height - 5, Number(v.toPrecision(4)) + 0));
    view.replaceChildren(
      svg("line", { x1: 0, x2: width, y1: base, y2: base, class: "dpm-axis" }),
      ...(marks.length < 12 ? marks : marks.filter((_, k) => k % 3 === 0)),
      path(place(data, 2.5 * tall), "dpm-crowd"),
      path(place(exact, 1.08 * peak), "dpm-true"),
      path(place(fit, 1.08 * peak), "dpm-fit"),
    );
  }
  function drawCost(kl) {
    const width = cost.clientWidth || 300;
    const height = cost.clientHeight || 200;
    const L = 40;
    const B = 34;
    const T = 20;
    const R = 12;
    const x = (power) => L + ((width - L - R) * (power - LOW)) / (0 - LOW);
    const y = (power) => T + ((height - T - B) * (0.5 - clamp(power, -12, 0.5))) / 12.5;
    const limit = Math.log10(thirdDerivative(xt, std) ** 2 / 12);
    const low = Math.max(LOW, (-12 - limit) / 3);
    const high = Math.min(HIGH, (0.5 - limit) / 3); // limit may be -Infinity
    cost.replaceChildren(
      ...[-12, -9, -6, -3, 0].flatMap((power) => [
        svg("line", { x1: L, x2: width - R, y1: y(power), y2: y(power), class: "dpm-grid" }),
        text(L - 5, y(power) + 4, `1e${power}`, "end"),
      ]),
      ...[-3, -2, -1, 0].map((power) => text(x(power), height - 18, 10 ** power)),
      text((L + width - R) / 2, height - 4, "beta"),
      text(L, 12, "KL, nats", "start"),
      high > low
        ? path(
            [low, high].map((power) => [x(power), y(3 * power + limit)]),
            "dpm-cubic",
          )
        : "",
      path(
        curve.map(([a, b]) => [x(a), y(b)]),
        "dpm-fit",
      ),
      svg("circle", { cx: x(Math.log10(beta)), cy: y(Math.log10(Math.max(kl, 1e-16))), r: 6, class: "dpm-here" }),
    );
  }

  const grip = svg(
    "g",
    {
      class: "dpm-handle dpm-pin",
      role: "slider",
      tabindex: 0,
      "aria-label": "x_t",
      "aria-valuemin": -2,
      "aria-valuemax": 2,
    },
    svg("rect", { y: 0, width: 32, height: 32, class: "dpm-grip" }),
    svg("path", { d: "M 16 4 L 27 26 L 5 26 Z" }),
    svg("text", { x: 30, y: 21, class: "dpm-pin-words" }),
  );
  handle.append(svg("line", { x1: 0, x2: "100%", y1: 3, y2: 3, class: "dpm-grid" }), grip);
  function setX(value) {
    xt = Math.round(100 * clamp(value, -2, 2)) / 100;
    sweep();
    figure.redraw();
  }
  const moves = {
    ArrowUp: 0.05,
    ArrowRight: 0.05,
    ArrowDown: -0.05,
    ArrowLeft: -0.05,
    PageUp: 0.5,
    PageDown: -0.5,
    Home: -9,
    End: 9,
  };
  const drag = (event) => {
    const box = handle.getBoundingClientRect();
    setX((2 * REACH * (event.clientX - box.left)) / box.width - REACH);
  };
  draggable(grip, { keys: moves, step: (by) => setX(xt + by), take: drag, drag });

  figure.draw = () => {
    const back = stepBack(std, xt, beta);
    drawView(back);
    drawCost(back.kl);
    const width = handle.clientWidth || 600;
    grip.setAttribute("transform", `translate(${(width * (xt + REACH)) / (2 * REACH) - 16} 0)`);
    grip.lastChild.textContent = `x_t = ${xt.toFixed(2).replace("-", "−")}`;
    grip.lastChild.setAttribute("text-anchor", xt > 1.2 ? "end" : "start");
    grip.lastChild.setAttribute("x", xt > 1.2 ? 2 : 30);
    grip.setAttribute("aria-valuenow", xt);
    grip.setAttribute("aria-valuetext", xt.toFixed(2));
    const law = (beta ** 3 * thirdDerivative(xt, std) ** 2) / 12;
    now.textContent =
      `β = ${scientific(beta)}: KL = ${scientific(Math.max(back.kl, 1e-16))} nats. ` +
      (law > 1e-16
        ? `Its limit for small β, β³ ℓ‴²/12, would be ${scientific(law)}.`
        : "Here ℓ‴ = 0, and the KL falls faster still.");
    Object.assign(figure.root.dataset, { kl: back.kl, beta, x: xt, std });
  };

  const noise = figure.slider({
    wide: true,
    label: "Step β",
    min: LOW,
    max: HIGH,
    step: 0.05,
    value: Math.log10(beta),
    format: (power) => scientific(10 ** power),
    set: (power) => (beta = 10 ** power),
  });
  const width = figure.chooser({
    label: "Width of a clump",
    options: [0.2, 0.35, 0.5, 1],
    value: std,
    set: (value) => {
      std = Number(value);
      sweep();
    },
  });
  const closer = figure.checkbox({ label: "Zoom in", set: (on) => (zoom = on) });
  figure.add(
    html("div", { class: "dpm-pair" }, html("div", {}, view, handle), cost),
    keys,
    controls(noise, width, closer),
    now,
  );
  sweep();
  figure.onResize(view);
  figure.onResize(cost);
  return figure.close;
}

export default { render };
