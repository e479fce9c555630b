// A schedule for bits to bend: alpha_bar by its knots, and the exact bound with its three losses, at once.

import { bentTau, exactBits, heartbeatKinds } from "./bits.js";
import { clamp, controls, draggable, html, openFigure, renew, svg, title } from "./common.js";
import { fixed, handle, inBits, keySteps, moveHandle, openPlot, scales, sharesAt, short } from "./plot.js";
import { live } from "./view.js";

const MARGINS = { left: 58, right: 14, top: 12, bottom: 20, gap: 6, foot: 5 };

/** The knots with knot k moved to `value`, kept falling: between its neighbours. */
export const moved = (knots, k, value) =>
  knots.map((old, i) => (i === k ? clamp(value, knots[k + 1] + 1e-4, knots[k - 1] - 1e-4) : old));

function render({ model, el }) {
  const figure = openFigure(model, el, "ownbits");
  const { root } = figure;
  const [period, size] = [model.get("period"), model.get("size")];
  const kinds = heartbeatKinds(period, size);
  const presets = model.get("presets"); // { name: { T, log10_beta_1, knots } }
  let { T, log10_beta_1: logBeta, knots } = structuredClone(Object.values(presets)[0]);

  const curve = openPlot(figure, "dpm-levels", "alpha bar by step", "group");
  const bars = openPlot(figure, "dpm-losses", "bits lost by each step");
  const backdrop = svg("g");
  const stack = html("div", { class: "dpm-stack", "aria-hidden": "true" });
  const parts = Object.fromEntries(["edge", "apart", "end"].map((key) => [key, html("span", { class: `dpm-${key}` })]));
  stack.append(...Object.values(parts));
  const words = Object.fromEntries(["edge", "apart", "end"].map((key) => [key, html("b", { class: "dpm-value" })]));
  const value = html("b", { class: "dpm-value" });

  const handles = [];
  function makeHandles() {
    handles.length = 0;
    for (let k = 1; k < knots.length - 1; k++) {
      const label = `alpha bar at ${Math.round((100 * k) / (knots.length - 1))} percent of the way`;
      const node = handle({ label, min: 0, max: 1, orientation: "vertical" });
      const put = (next) => {
        knots = moved(knots, k, next);
        own();
      };
      draggable(node, {
        keys: keySteps(0.01, 0.1),
        step: (by) => put(knots[k] + by),
        drag: (event) => put(sharesAt(event, curve, MARGINS).y),
      });
      handles.push({ k, node });
    }
    curve.replaceChildren(backdrop, ...handles.map(({ node }) => node));
  }

  const ends = (plot) => plot.marks([0, T], (t) => (t === 0 ? "t = 0" : t));
  function drawCurve(tau) {
    const plot = scales(curve, MARGINS, [0, T], [0, 1]);
    renew(
      backdrop,
      ...plot.rows([0, 0.5, 1]),
      ...ends(plot),
      plot.curve("dpm-line", tau, (v, t) => [t, v === Infinity ? 0 : 1 / (1 + v)]),
    );
    for (const { k, node } of handles) {
      const t = 1 + (k / (knots.length - 1)) * (T - 1);
      const kept = (1 - 10 ** logBeta) * knots[k];
      const words = `${(100 * kept).toFixed(1)} percent of the signal left`;
      moveHandle(node, plot.x(t), plot.y(kept), kept.toFixed(3), words);
    }
  }
  function drawBars(steps) {
    const top = 1.05 * Math.max(...steps.map(inBits), 1e-6);
    const plot = scales(bars, MARGINS, [0, T], [0, top]);
    renew(
      bars,
      ...plot.rows([0, 0.5 * top, top], short),
      ...Array.from(steps.subarray(2), (v, i) => plot.bar("dpm-bar", i + 1.5, i + 2.3, Math.max(0, inBits(v)))),
      ...ends(plot),
    );
  }

  figure.draw = () => {
    const tau = bentTau(T, 10 ** logBeta, knots);
    const found = exactBits(tau, kinds, period, size);
    drawCurve(tau);
    drawBars(found.steps);
    const whole = Math.max(0.5, inBits(found.edge + found.apart + found.end));
    for (const key of ["edge", "apart", "end"]) {
      parts[key].style.width = `${clamp((100 * inBits(found[key])) / whole, 0, 100)}%`;
      words[key].textContent = fixed(inBits(found[key]), 4);
    }
    value.textContent = fixed(inBits(found.K), 4);
    root.dataset.k = inBits(found.K);
  };

  const number = figure.slider({
    label: "Steps T",
    min: 10,
    max: 200,
    step: 10,
    value: T,
    format: String,
    set: (next) => (T = next),
    after: own,
  });
  const first = figure.slider({
    label: "First step",
    min: -8,
    max: -0.5,
    step: 0.01,
    value: logBeta,
    format: (v) => `β₁ = ${(10 ** v).toPrecision(3)}`,
    set: (next) => (logBeta = next),
    after: own,
  });
  const preset = figure.presetChooser({
    label: "Schedule",
    names: Object.keys(presets),
    set: (name) => {
      ({ T, log10_beta_1: logBeta, knots } = structuredClone(presets[name]));
      number.set(T);
      first.set(logBeta);
      makeHandles();
    },
  });
  figure.keep(
    "knots",
    () => knots,
    (values) => {
      const inner = values.slice(1, -1).map((v) => clamp(v, 0, 1));
      knots = [knots[0], ...inner.sort((a, b) => b - a), knots.at(-1)];
    },
  );
  function own() {
    preset.select.value = "your own";
    figure.redraw();
  }
  figure.add(
    controls(preset, number, first),
    title("Signal left", " alpha bar; drag a point, or use the arrow keys"),
    curve,
    title("Lost by each step, because its bits are drawn apart", " bits"),
    bars,
    html(
      "p",
      { class: "dpm-results" },
      html("span", {}, "K = ", value, " bits"),
      html("span", {}, `limit −log₂ ${period} = ${fixed(-Math.log2(period), 4)} bits`),
    ),
    stack,
    html(
      "p",
      { class: "dpm-words" },
      html("span", { class: "dpm-word-edge" }, "edge step ", words.edge),
      html("span", { class: "dpm-word-apart" }, "bits apart ", words.apart),
      html("span", { class: "dpm-word-end" }, "end ", words.end),
    ),
  );
  makeHandles();
  return figure.close;
}

export default live(render);
