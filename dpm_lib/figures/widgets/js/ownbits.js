// A schedule for bits to bend: alpha_bar by its knots, and the exact bound with its three losses, at once.

import { bentTau, exactBits, heartbeatKinds } from "./bits.js";
import { clamp, controls, draggable, html, openFigure, svg, title } from "./common.js";

const LEFT = 58;
const RIGHT = 14;
const TOP = 12;
const BOTTOM = 20;

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

  const curve = svg("svg", { class: "dpm-plot dpm-levels", role: "group", "aria-label": "alpha bar by step" });
  const bars = svg("svg", { class: "dpm-plot dpm-losses", role: "img", "aria-label": "bits lost by each step" });
  const backdrop = svg("g");
  const stack = html("div", { class: "dpm-stack", "aria-hidden": "true" });
  const parts = Object.fromEntries(["edge", "apart", "end"].map((key) => [key, html("span", { class: `dpm-${key}` })]));
  stack.append(...Object.values(parts));
  const words = Object.fromEntries(["edge", "apart", "end"].map((key) => [key, html("b", { class: "dpm-value" })]));
  const value = html("b", { class: "dpm-value" });

  const text = (x, y, label, anchor = "end") => svg("text", { x, y, "text-anchor": anchor }, label);
  const line = (x1, y1, x2, y2, kind) => svg("line", { x1, y1, x2, y2, class: kind });
  const sizeOf = (node) => ({ width: node.clientWidth || 600, height: node.clientHeight || 150 });
  const across = (part, width) => LEFT + part * (width - LEFT - RIGHT);
  const level = (kept, height) => TOP + (1 - kept) * (height - TOP - BOTTOM);
  const fixed = (v, digits = 3) => (Math.abs(v) < 0.5 * 10 ** -digits ? 0 : v).toFixed(digits).replace("-", "−");
  const bits = (nats) => nats / Math.LN2;

  const handles = [];
  function makeHandles() {
    handles.length = 0;
    for (let k = 1; k < knots.length - 1; k++) {
      const node = svg(
        "g",
        {
          class: "dpm-handle",
          role: "slider",
          tabindex: 0,
          "aria-orientation": "vertical",
          "aria-label": `alpha bar at ${Math.round((100 * k) / (knots.length - 1))} percent of the way`,
          "aria-valuemin": 0,
          "aria-valuemax": 1,
        },
        svg("circle", { r: 15, class: "dpm-grip" }),
        svg("circle", { r: 6 }),
      );
      const put = (next) => {
        knots = moved(knots, k, next);
        own();
      };
      const keys = { ArrowUp: 0.01, ArrowRight: 0.01, ArrowDown: -0.01, ArrowLeft: -0.01, PageUp: 0.1, PageDown: -0.1 };
      const drag = (event) => {
        const box = curve.getBoundingClientRect();
        put(1 - (event.clientY - box.top - TOP) / (box.height - TOP - BOTTOM));
      };
      draggable(node, { keys, step: (by) => put(knots[k] + by), drag });
      handles.push({ k, node });
    }
    curve.replaceChildren(backdrop, ...handles.map((handle) => handle.node));
  }

  function drawCurve(tau) {
    const { width, height } = sizeOf(curve);
    const points = Array.from(tau, (v, t) => [t / T, v === Infinity ? 0 : 1 / (1 + v)]);
    backdrop.replaceChildren(
      ...[0, 0.5, 1].flatMap((kept) => [
        line(LEFT, level(kept, height), width - RIGHT, level(kept, height), "dpm-grid"),
        text(LEFT - 6, level(kept, height) + 4, kept),
      ]),
      text(across(0, width), height - 5, "t = 0", "middle"),
      text(across(1, width), height - 5, T, "middle"),
      svg("polyline", {
        class: "dpm-line",
        points: points.map(([x, y]) => `${across(x, width)},${level(y, height)}`).join(" "),
      }),
    );
    for (const { k, node } of handles) {
      const t = 1 + (k / (knots.length - 1)) * (T - 1);
      const kept = (1 - 10 ** logBeta) * knots[k];
      node.setAttribute("transform", `translate(${across(t / T, width)} ${level(kept, height)})`);
      node.setAttribute("aria-valuenow", kept.toFixed(3));
      node.setAttribute("aria-valuetext", `${(100 * kept).toFixed(1)} percent of the signal left`);
    }
  }
  function drawBars(steps) {
    const { width, height } = sizeOf(bars);
    const top = 1.05 * Math.max(...steps.map(bits), 1e-6);
    const y = (v) => height - BOTTOM - (height - TOP - BOTTOM) * Math.max(0, v / top);
    const wide = (0.8 * (width - LEFT - RIGHT)) / T;
    bars.replaceChildren(
      ...[0, 0.5, 1].flatMap((part) => [
        line(LEFT, y(part * top), width - RIGHT, y(part * top), "dpm-grid"),
        text(LEFT - 6, y(part * top) + 4, Number((part * top).toPrecision(2))),
      ]),
      ...Array.from(steps)
        .slice(2)
        .map((v, i) => {
          const top = y(bits(v));
          return svg("rect", {
            x: across((i + 1.5) / T, width),
            y: top,
            width: wide,
            height: Math.max(0, height - BOTTOM - top),
            class: "dpm-bar",
          });
        }),
      text(across(0, width), height - 5, "t = 0", "middle"),
      text(across(1, width), height - 5, T, "middle"),
    );
  }

  figure.draw = () => {
    const tau = bentTau(T, 10 ** logBeta, knots);
    const found = exactBits(tau, kinds, period, size);
    drawCurve(tau);
    drawBars(found.steps);
    const whole = Math.max(0.5, bits(found.edge + found.apart + found.end));
    for (const key of ["edge", "apart", "end"]) {
      parts[key].style.width = `${clamp((100 * bits(found[key])) / whole, 0, 100)}%`;
      words[key].textContent = fixed(bits(found[key]), 4);
    }
    value.textContent = fixed(bits(found.K), 4);
    root.dataset.k = bits(found.K);
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
    format: (v) => `β₁ = ${(10 ** v).toPrecision(2)}`,
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
  figure.onResize(curve);
  return figure.close;
}

export default { render };
