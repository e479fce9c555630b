// One step of a diffusion, run backwards by Bayes, against the best Gaussian.

import { clamp, controls, draggable, html, keys, openFigure, renew, svg } from "./common.js";
import { evenly, keySteps, line, minus, moveHandle, openPlot, power, scales, sharesAt, text } from "./plot.js";
import { live } from "./view.js";

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
  const k = Math.floor(Math.log10(value));
  return `${(value / 10 ** k).toFixed(1)} × ${power(k)}`;
};

function render({ model, el }) {
  const figure = openFigure(model, el, "stepback");
  let xt = model.get("x_t");
  let beta = model.get("beta");
  let std = model.get("std");
  let zoom = false;
  let curve;

  const view = openPlot(figure, "dpm-view", "The data, the exact step back, and the best Gaussian");
  const cost = openPlot(figure, "dpm-cost", "KL from the best Gaussian, against beta, both on log scales");
  const rail = openPlot(figure, "dpm-rail", "Where x_t is", "group");
  const now = html("p", { class: "dpm-now" });
  const logOf = (kl) => Math.log10(Math.max(kl, 1e-16));
  /** KL against beta for this x_t and width of the clumps. */
  function sweep() {
    curve = evenly(LOW, HIGH, 40).map((k) => [k, logOf(stepBack(std, xt, 10 ** k).kl)]);
  }
  function drawView({ y, p, mean, variance }) {
    const half = zoom ? Math.min(REACH, 5 * Math.sqrt(variance)) : REACH;
    const centre = zoom ? mean : 0;
    const spacing = y[1] - y[0];
    const shown = evenly(centre - half, centre + half, 300);
    const exact = shown.map((v) => {
      const at = clamp((v - y[0]) / spacing, 0, y.length - 2);
      const k = Math.floor(at);
      return [v, p[k] + (at - k) * (p[k + 1] - p[k])];
    });
    const fit = shown.map((v) => [v, normalPdf(v, mean, variance)]);
    const data = shown.map((v) => [v, Math.exp(twoClumps(v, std))]);
    const peak = Math.max(...exact.map(([, d]) => d), ...fit.map(([, d]) => d));
    const tall = Math.max(...data.map(([, d]) => d)) || 1;
    const sides = { left: 0, right: 0, top: 8, bottom: 20, foot: 5 };
    const under = (top) => scales(view, sides, [centre - half, centre + half], [0, top]);
    const plot = under(1.08 * peak);
    const step = zoom ? 10 ** Math.floor(Math.log10(half)) : 1;
    const marks = [];
    for (let v = Math.ceil((centre - half) / step) * step; v <= centre + half; v += step) marks.push(v);
    renew(
      view,
      plot.axis(),
      ...plot.marks(
        marks.length < 12 ? marks : marks.filter((_, k) => k % 3 === 0),
        (v) => Number(v.toPrecision(4)) + 0,
      ),
      under(2.5 * tall).curve("dpm-crowd", data),
      plot.curve("dpm-true", exact),
      plot.curve("dpm-fit", fit),
    );
  }
  function drawCost(kl) {
    const plot = scales(cost, { left: 40, right: 12, top: 20, bottom: 34, foot: 18 }, [LOW, 0], [-12, 0.5], {
      held: "y",
    });
    const limit = Math.log10(thirdDerivative(xt, std) ** 2 / 12);
    const low = Math.max(LOW, (-12 - limit) / 3);
    const high = Math.min(HIGH, (0.5 - limit) / 3); // limit may be -Infinity
    renew(
      cost,
      ...plot.rows([-12, -9, -6, -3, 0], (k) => `1e${k}`),
      ...plot.marks([-3, -2, -1, 0], (k) => 10 ** k),
      text((plot.left + plot.end) / 2, plot.height - 4, "beta"),
      text(plot.left, 12, "KL, nats", "start"),
      high > low ? plot.curve("dpm-cubic", [low, high], (k) => [k, 3 * k + limit]) : "",
      plot.curve("dpm-fit", curve),
      plot.dot("dpm-here", Math.log10(beta), logOf(kl), 6),
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
  rail.append(line(0, 3, "100%", 3, "dpm-grid"), grip);
  function setX(value) {
    xt = Math.round(100 * clamp(value, -2, 2)) / 100;
    sweep();
    figure.redraw();
  }
  const ENDS = { left: 0, right: 0, top: 0, bottom: 0 };
  const drag = (event) => setX((2 * sharesAt(event, rail, ENDS).x - 1) * REACH);
  draggable(grip, { keys: keySteps(0.05, 0.5, 9), step: (by) => setX(xt + by), take: drag, drag });

  figure.keep("x", () => xt, setX);

  figure.draw = () => {
    const back = stepBack(std, xt, beta);
    drawView(back);
    drawCost(back.kl);
    const x = scales(rail, ENDS, [-REACH, REACH], [0, 1]).x(xt);
    moveHandle(grip, x - 16, 0, xt, xt.toFixed(2));
    grip.lastChild.textContent = minus(`x_t = ${xt.toFixed(2)}`);
    grip.lastChild.setAttribute("text-anchor", xt > 1.2 ? "end" : "start");
    grip.lastChild.setAttribute("x", xt > 1.2 ? 2 : 30);
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
    html("div", { class: "dpm-uneven" }, html("div", {}, view, rail), cost),
    keys({ muted: "data", data: "exact step back", model: "best Gaussian" }),
    controls(noise, width, closer),
    now,
  );
  sweep();
  return figure.close;
}

export default live(render);
