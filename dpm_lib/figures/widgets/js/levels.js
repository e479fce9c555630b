// One pixel: what its noisy value says, what the others say of its level, and both together.

import { clamp, controls, draggable, html, openFigure, svg } from "./common.js";

const LEFT = 12;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 34;

/**
 * N(y, s^2) cut to each cell between edges: [{ logMass, mean, variance }], by Simpson's rule where the mass lies.
 * logMass leaves out the constant 1 / (s sqrt(2 pi)).
 */
export function cut(y, s, edges, strips = 200) {
  return edges.slice(1).map((high, k) => {
    const low = edges[k];
    const peak = clamp(y, low, high);
    const reach = Math.min(10 * s, (60 * s * s) / Math.max(Math.abs(y - peak), 1e-9)); // beyond, nothing to speak of
    const [a, b] = [Math.max(low, peak - reach), Math.min(high, peak + reach)];
    let sums = [0, 0, 0];
    for (let i = 0; i <= strips; i++) {
      const x = a + ((b - a) * i) / strips;
      const f =
        Math.exp((-(x - y) * (x - y) + (peak - y) * (peak - y)) / (2 * s * s)) *
        (i === 0 || i === strips ? 1 : i % 2 ? 4 : 2);
      sums = sums.map((sum, p) => sum + f * (x - peak) ** p);
    }
    const shift = sums[1] / sums[0];
    return {
      logMass: Math.log((sums[0] * (b - a)) / (3 * strips)) - ((peak - y) * (peak - y)) / (2 * s * s),
      mean: peak + shift,
      variance: Math.max(0, sums[2] / sums[0] - shift * shift),
    };
  });
}

/** Both together: { share (L), mean, deviation } of the pixel, when level k has weight weights[k] to the others. */
export function posterior(y, s, edges, weights) {
  const cells = cut(y, s, edges);
  const logs = cells.map(({ logMass }, k) => logMass + Math.log(weights[k]));
  const most = Math.max(...logs);
  const raw = logs.map((v) => Math.exp(v - most));
  const total = raw.reduce((a, b) => a + b, 0);
  const share = raw.map((v) => v / total);
  const mean = share.reduce((sum, p, k) => sum + p * cells[k].mean, 0);
  const square = share.reduce((sum, p, k) => sum + p * (cells[k].variance + (cells[k].mean - mean) ** 2), 0);
  return { share, mean, deviation: Math.sqrt(square) };
}

function render({ model, el }) {
  const figure = openFigure(model, el, "levels");
  const { root } = figure;
  const L = model.get("levels");
  const opinions = new Map(model.get("opinions"));
  const [least, most, first] = model.get("spread");
  const edges = Array.from({ length: L + 1 }, (_, k) => k);
  let [y, s, opinion] = [0.55 * L, first, opinions.keys().next().value];

  const plot = svg("svg", { class: "dpm-plot dpm-cells", role: "group", "aria-label": "the pixel's density by level" });
  const backdrop = svg("g");
  const handle = svg(
    "g",
    {
      class: "dpm-handle",
      role: "slider",
      tabindex: 0,
      "aria-orientation": "horizontal",
      "aria-label": "noisy value of the pixel, in levels",
      "aria-valuemin": 0,
      "aria-valuemax": L,
    },
    svg("circle", { r: 15, class: "dpm-grip" }),
    svg("circle", { r: 6 }),
  );
  plot.append(backdrop, handle);
  const words = html("p", { class: "dpm-results" });
  const sizes = () => ({ width: plot.clientWidth || 600, height: plot.clientHeight || 200 });
  const across = (v, width) => LEFT + (v / L) * (width - LEFT - RIGHT);
  const put = (next) => {
    y = clamp(next, 0, L);
    figure.redraw();
  };
  draggable(handle, {
    keys: { ArrowRight: 0.05, ArrowUp: 0.05, ArrowLeft: -0.05, ArrowDown: -0.05, PageUp: 1, PageDown: -1 },
    step: (by) => put(y + by),
    drag: (event) => {
      const box = plot.getBoundingClientRect();
      put(((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * L);
    },
  });

  figure.draw = () => {
    const { width, height } = sizes();
    const weights = opinions.get(opinion);
    const { mean, deviation } = posterior(y, s, edges, weights);
    const base = height - BOTTOM;
    const points = [];
    for (let k = 0; k < L; k++) for (let i = 0; i <= 40; i++) points.push([k + i / 40, k]);
    const logs = points.map(([x, k]) => Math.log(weights[k]) - ((x - y) * (x - y)) / (2 * s * s));
    const top = Math.max(...logs);
    const up = (v) => base - v * (base - TOP);
    const line = points.map(([x], i) => `${across(x, width)},${up(Math.exp(logs[i] - top))}`);
    const bell = points.map(([x]) => `${across(x, width)},${up(Math.exp(-((x - y) * (x - y)) / (2 * s * s)))}`);
    const tallest = Math.max(...weights);
    const [from, to] = [clamp(mean - deviation, 0, L), clamp(mean + deviation, 0, L)];
    backdrop.replaceChildren(
      ...weights.map((w, k) =>
        svg("rect", {
          class: "dpm-opinion",
          x: across(k + 0.08, width),
          width: across(0.84, width) - LEFT,
          y: up(w / tallest),
          height: base - up(w / tallest),
        }),
      ),
      svg("rect", {
        class: "dpm-band",
        x: across(from, width),
        width: Math.max(1, across(to, width) - across(from, width)),
        y: TOP,
        height: base - TOP,
      }),
      svg("polygon", {
        class: "dpm-posterior",
        points: [`${across(0, width)},${base}`, ...line, `${across(L, width)},${base}`].join(" "),
      }),
      svg("polyline", { class: "dpm-evidence", points: bell.join(" ") }),
      svg("line", { class: "dpm-mean", x1: across(mean, width), x2: across(mean, width), y1: TOP, y2: base }),
      svg("line", { class: "dpm-grid", x1: LEFT, x2: width - RIGHT, y1: base, y2: base }),
      ...[0, Math.floor(L / 2), L - 1].map((k) =>
        svg("text", { x: across(k + 0.5, width), y: height - 4, "text-anchor": "middle" }, k),
      ),
    );
    handle.setAttribute("transform", `translate(${across(y, width)} ${base})`);
    handle.setAttribute("aria-valuenow", y.toFixed(2));
    handle.setAttribute("aria-valuetext", `noisy value ${y.toFixed(2)}; the pixel is expected at ${mean.toFixed(2)}`);
    words.textContent = `noisy value ${y.toFixed(2)}, noise ± ${s.toPrecision(2)}; the pixel is ${mean.toFixed(2)} ± ${deviation.toFixed(2)} levels`;
    Object.assign(root.dataset, { mean, deviation, y });
  };
  const noise = figure.slider({
    label: "Noise",
    min: Math.log(least),
    max: Math.log(most),
    step: 0.02,
    value: Math.log(s),
    format: (v) => `± ${Math.exp(v).toPrecision(2)} levels`,
    set: (v) => (s = Math.exp(v)),
  });
  const said = figure.chooser({
    label: "The others say",
    options: [...opinions.keys()],
    value: opinion,
    set: (name) => (opinion = name),
  });
  figure.add(
    controls(noise, said),
    plot,
    words,
    html(
      "p",
      { class: "dpm-legend" },
      html("span", { class: "dpm-key-data" }, "its own noisy value says"),
      html("span", { class: "dpm-key-muted" }, "the others say"),
      html("span", { class: "dpm-key-model" }, "both"),
    ),
  );
  figure.onResize(plot);
  return figure.close;
}

export default { render };
