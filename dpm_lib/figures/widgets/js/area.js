// The I-MMSE curve: what is left to guess at every noise level, and the area beyond t0 as information in nats.

import { clamp, controls, draggable, html, keys, openFigure, svg, title } from "./common.js";
import { table } from "./immse.js";

const LOW = -3;
const HIGH = 4;
const SHOWN = 3;
const PER_DECADE = 20;
const LEFT = 40;
const RIGHT = 14;
const TOP = 10;
const BOTTOM = 22;
const SPAN = 3;

const DATA = {
  "two points": { centers: [-1, 1], weights: [1, 1], sigma: 0 },
  "five points": { centers: [-2, -1.4, 0.1, 0.5, 1.9], weights: [0.6, 0.6, 0.6, 0.6, 0.6], sigma: 0 },
  "three clumps": { centers: [-1.2, 0.2, 1.6], weights: [0.8, 0.4, 0.6], sigma: 0.15 },
  "a Gaussian": { centers: [0], weights: [1], sigma: 1 },
  "the heartbeat's five strings": { count: 5, distance: Math.sqrt(8) },
};

function render({ model, el }) {
  const figure = openFigure(model, el, "area");
  const { root } = figure;
  let data = structuredClone(DATA[model.get("data")]);
  let place = Math.round((Math.log10(model.get("t0")) - LOW) * PER_DECADE);
  let found = null;

  const points = svg("svg", {
    class: "dpm-plot dpm-points",
    role: "group",
    "aria-label": "The data: places and weights",
  });
  const curve = svg("svg", {
    class: "dpm-plot dpm-density",
    role: "img",
    "aria-label": "Information per unit of log t, with the area beyond t0",
  });
  const sums = svg("svg", {
    class: "dpm-plot dpm-sums",
    role: "img",
    "aria-label": "The area, the rest, and their sum, over t0",
  });
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const about = html(
    "p",
    { class: "dpm-detail dpm-none" },
    "Strings of twenty bits, as points in 20 dimensions: any two differ in eight bits, so every distance is √8. There is nothing to drag.",
  );
  const backdrop = svg("g");

  const text = (x, y, words, anchor = "middle") => svg("text", { x, y, "text-anchor": anchor }, words);
  const line = (x1, y1, x2, y2, kind) => svg("line", { x1, y1, x2, y2, class: kind });
  const path = (values, kind) =>
    svg("polyline", { points: values.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join(" "), class: kind });
  const sizeOf = (node) => [node.clientWidth || 600, node.clientHeight || 150];
  const across = (log, width) => LEFT + ((log - LOW) / (SHOWN - LOW)) * (width - LEFT - RIGHT);
  const minus = (words) => String(words).replace("-", "−");
  const nats = (v) => minus((Math.abs(v) < 5e-4 ? 0 : v).toFixed(3));
  const power = (k) => (k === 0 ? "1" : `10${[...String(k)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("")}`);
  const visible = (values) => Array.from(values).slice(0, (SHOWN - LOW) * PER_DECADE + 1);

  // --- The data, to drag. ---

  const spot = (v, width) => LEFT + ((v + SPAN) / (2 * SPAN)) * (width - LEFT - RIGHT);
  const level = (w, height) => height - BOTTOM - w * (height - BOTTOM - TOP);
  const handles = [];
  function makeHandles() {
    handles.length = 0;
    (data.centers ?? []).forEach((_, k) => {
      const stem = svg("line", { class: "dpm-stem" });
      const dot = svg(
        "g",
        {
          class: "dpm-handle dpm-both",
          role: "slider",
          tabindex: 0,
          "aria-label": `Point ${k + 1} of ${data.centers.length}: place, and weight`,
          "aria-valuemin": -SPAN,
          "aria-valuemax": SPAN,
        },
        svg("circle", { r: 15, class: "dpm-grip" }),
        svg("circle", { r: 7 }),
      );
      const put = (where, weight) => {
        data.centers[k] = Math.round(100 * clamp(where, -SPAN, SPAN)) / 100;
        data.weights[k] = Math.round(100 * clamp(weight, 0.02, 1)) / 100;
        own();
      };
      draggable(dot, {
        keys: {
          ArrowLeft: [-0.1, 0],
          ArrowRight: [0.1, 0],
          ArrowUp: [0, 0.05],
          ArrowDown: [0, -0.05],
          PageUp: [1, 0],
          PageDown: [-1, 0],
        },
        step: (by) => put(data.centers[k] + by[0], data.weights[k] + by[1]),
        drag: (event) => {
          const box = points.getBoundingClientRect();
          put(
            ((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * 2 * SPAN - SPAN,
            (box.height - BOTTOM - (event.clientY - box.top)) / (box.height - BOTTOM - TOP),
          );
        },
      });
      handles.push({ stem, dot });
    });
    points.replaceChildren(backdrop, ...handles.map((h) => h.stem), ...handles.map((h) => h.dot));
    points.style.display = data.count ? "none" : "";
    about.style.display = data.count ? "" : "none";
    width.node.style.display = data.count ? "none" : "";
  }

  const mixture = () => {
    if (data.count) return data;
    const total = data.weights.reduce((a, b) => a + b, 0);
    return { centers: data.centers, weights: data.weights.map((w) => w / total), variance: data.sigma ** 2 };
  };

  // --- Drawing. ---

  function drawPoints() {
    const [wide, high] = sizeOf(points);
    const { weights, variance } = mixture();
    const rows = [line(LEFT, high - BOTTOM, wide - RIGHT, high - BOTTOM, "dpm-axis")];
    for (let v = -SPAN; v <= SPAN; v++) rows.push(text(spot(v, wide), high - 5, minus(v)));
    if (variance > 0) {
      const tops = Array.from({ length: 241 }, (_, i) => -SPAN + (2 * SPAN * i) / 240);
      const heights = tops.map((v) =>
        data.centers.reduce((sum, c, k) => sum + weights[k] * Math.exp(-((v - c) ** 2) / (2 * variance)), 0),
      );
      rows.push(
        path(
          tops.map((v, i) => [spot(v, wide), level(heights[i] * 0.95, high)]),
          "dpm-line",
        ),
      );
    }
    backdrop.replaceChildren(...rows);
    handles.forEach(({ stem, dot }, k) => {
      const [x, y] = [spot(data.centers[k], wide), level(data.weights[k], high)];
      for (const [name, value] of Object.entries({ x1: x, x2: x, y1: high - BOTTOM, y2: y }))
        stem.setAttribute(name, value);
      dot.setAttribute("transform", `translate(${x} ${y})`);
      dot.setAttribute("aria-valuenow", data.centers[k]);
      dot.setAttribute("aria-valuetext", `at ${data.centers[k].toFixed(1)}, probability ${weights[k].toFixed(2)}`);
    });
  }
  function axis(wide, high, tops, y) {
    const rows = [];
    for (let k = LOW; k <= SHOWN; k++)
      rows.push(
        line(across(k, wide), TOP, across(k, wide), high - BOTTOM, "dpm-grid"),
        text(across(k, wide), high - 5, k === SHOWN ? "t" : power(k)),
      );
    for (const v of tops)
      rows.push(
        line(LEFT, y(v), wide - RIGHT, y(v), v === 0 ? "dpm-axis" : "dpm-grid"),
        text(LEFT - 6, y(v) + 4, minus(v), "end"),
      );
    return rows;
  }
  function drawCurve() {
    const [wide, high] = sizeOf(curve);
    const shown = visible(found.density);
    const top = Math.max(0.3, 1.1 * Math.max(...shown));
    const y = (v) => high - BOTTOM - (v / top) * (high - BOTTOM - TOP);
    const all = shown.map((v, i) => [across(LOW + i / PER_DECADE, wide), y(v)]);
    const right = all.slice(place);
    const cut = across(LOW + place / PER_DECADE, wide);
    const fill = [[cut, y(0)], ...right, [right.at(-1)[0], y(0)]];
    const tops =
      top > 1
        ? [0, 0.5, 1, 1.5, 2].filter((v) => v < top)
        : [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9].filter(
            (v) => v < top && (top < 0.5 || Math.round(10 * v) % 2 === 0),
          );
    curve.replaceChildren(
      svg("polygon", { points: fill.map(([a, b]) => `${a.toFixed(2)},${b.toFixed(2)}`).join(" "), class: "dpm-known" }),
      ...axis(wide, high, tops, y),
      path(all, "dpm-line"),
      line(cut, TOP, cut, high - BOTTOM, "dpm-cut"),
      text(cut + 5, TOP + 12, "t₀", "start"),
    );
  }
  function drawSums() {
    const [wide, high] = sizeOf(sums);
    const areas = visible(found.area);
    const rests = visible(found.known).map((v) => found.entropy - v);
    const top = 1.08 * Math.max(...areas, found.entropy, 0.2);
    const bottom = Math.min(0, 1.08 * Math.min(...rests, found.entropy));
    const y = (v) => high - BOTTOM - ((v - bottom) / (top - bottom)) * (high - BOTTOM - TOP);
    const gap = top - bottom > 4 ? 2 : top - bottom > 1.5 ? 1 : 0.5;
    const tops = [];
    for (let v = Math.ceil(bottom / gap) * gap; v <= top; v += gap) tops.push(v + 0);
    const x = (i) => across(LOW + i / PER_DECADE, wide);
    const cut = x(place);
    sums.replaceChildren(
      ...axis(wide, high, tops, y),
      path(
        areas.map((v, i) => [x(i), y(v)]),
        "dpm-line",
      ),
      path(
        rests.map((v, i) => [x(i), y(v)]),
        "dpm-rest",
      ),
      path(
        areas.map((v, i) => [x(i), y(v + rests[i])]),
        "dpm-total",
      ),
      line(cut, TOP, cut, high - BOTTOM, "dpm-cut"),
    );
  }
  figure.draw = () => {
    found ??= table(mixture(), LOW, HIGH, PER_DECADE);
    if (!data.count) drawPoints();
    drawCurve();
    drawSums();
    const [area, rest] = [found.area[place], found.entropy - found.known[place]];
    const letter = data.count || data.sigma === 0 ? "H" : "h";
    detail.textContent =
      `At t₀ = ${Number(found.t[place].toPrecision(2))}: area ${nats(area)} nats, the rest ${letter}(y | z(t₀)) = ${nats(rest)}. ` +
      `Sum ${nats(area + rest)}. Entropy of the data: ${nats(found.entropy)} nats = ${nats(found.entropy / Math.LN2)} bits.`;
    Object.assign(root.dataset, { area, rest, entropy: found.entropy, t: found.t[place] });
  };

  const start = figure.slider({
    label: "Noise t₀",
    min: 0,
    max: (SHOWN - LOW) * PER_DECADE,
    value: place,
    format: (i) => String(Number((10 ** (LOW + i / PER_DECADE)).toPrecision(2))),
    set: (next) => (place = next),
  });
  const width = figure.slider({
    label: "Width of each point",
    min: 0,
    max: 1,
    step: 0.01,
    value: data.sigma ?? 0,
    format: (v) => (v ? v.toFixed(2) : "0: discrete"),
    set: (next) => (data.sigma = next),
    after: own,
  });
  const preset = figure.presetChooser({
    label: "Data",
    names: Object.keys(DATA),
    value: model.get("data"),
    set: (name) => {
      data = structuredClone(DATA[name]);
      width.set(data.sigma ?? 0);
      found = null;
      makeHandles();
    },
  });
  function own() {
    preset.select.value = "your own";
    found = null;
    figure.redraw();
  }
  figure.add(
    controls(preset, start, width),
    points,
    about,
    title("Information per unit of log t", " mmse(t) / 2t, in nats; the area beyond t₀ is I(y; z(t₀))"),
    curve,
    title("The two parts of the entropy", " in nats, for every t₀"),
    sums,
    keys({ data: "area beyond t₀", model: "what z(t₀) leaves open", limit: "their sum" }),
    detail,
  );
  makeHandles();
  for (const node of [points, curve, sums]) figure.onResize(node);
  return figure.close;
}

export default { render };
