// The I-MMSE curve: what is left to guess at every noise level, and the area beyond t0 as information in nats.

import { clamp, controls, draggable, html, keys, openFigure, renew, svg, title } from "./common.js";
import { table } from "./immse.js";
import {
  evenly,
  fixed,
  handle,
  inBits,
  joined,
  minus,
  moveHandle,
  openPlot,
  power,
  scales,
  sharesAt,
  short,
  text,
} from "./plot.js";
import { live } from "./view.js";

const LOW = -3;
const HIGH = 4;
const SHOWN = 3;
const PER_DECADE = 20;
const MARGINS = { left: 40, right: 14, top: 10, bottom: 22, gap: 6, foot: 5 };
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

  const points = openPlot(figure, "dpm-points", "The data: places and weights", "group");
  const curve = openPlot(figure, "dpm-density", "Information per unit of log t, with the area beyond t0");
  const sums = openPlot(figure, "dpm-sums", "The area, the rest, and their sum, over t0");
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const about = html(
    "p",
    { class: "dpm-detail dpm-none" },
    "Strings of twenty bits, as points in 20 dimensions: any two differ in eight bits, so every distance is √8. There is nothing to drag.",
  );
  const backdrop = svg("g");

  const logAt = (i) => LOW + i / PER_DECADE;
  const visible = (values) => Array.from(values).slice(0, (SHOWN - LOW) * PER_DECADE + 1);

  // --- The data, to drag. ---

  const handles = [];
  function makeHandles() {
    handles.length = 0;
    (data.centers ?? []).forEach((_, k) => {
      const stem = svg("line", { class: "dpm-stem" });
      const label = `Point ${k + 1} of ${data.centers.length}: place, and weight`;
      const dot = handle({ label, min: -SPAN, max: SPAN, kind: "dpm-both", dot: 7 });
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
          const { x, y } = sharesAt(event, points, MARGINS);
          put(x * 2 * SPAN - SPAN, y);
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
    const plot = scales(points, MARGINS, [-SPAN, SPAN], [0, 1]);
    const { weights, variance } = mixture();
    const rows = [plot.axis(), ...plot.marks(evenly(-SPAN, SPAN, 2 * SPAN))];
    if (variance > 0) {
      const height = (v) =>
        data.centers.reduce((sum, c, k) => sum + weights[k] * Math.exp(-((v - c) ** 2) / (2 * variance)), 0);
      rows.push(plot.curve("dpm-line", evenly(-SPAN, SPAN, 240), (v) => [v, 0.95 * height(v)]));
    }
    renew(backdrop, ...rows);
    handles.forEach(({ stem, dot }, k) => {
      const [x, y] = plot.place([data.centers[k], data.weights[k]]);
      for (const [name, value] of Object.entries({ x1: x, x2: x, y1: plot.floor, y2: y }))
        stem.setAttribute(name, value);
      const words = `at ${data.centers[k].toFixed(1)}, probability ${weights[k].toFixed(2)}`;
      moveHandle(dot, x, y, data.centers[k], words);
    });
  }
  function axes(plot, tops) {
    const decades = evenly(LOW, SHOWN, SHOWN - LOW);
    return [
      ...decades.map((k) => plot.upright(k, "dpm-grid")),
      ...plot.marks(decades, (k) => (k === SHOWN ? "t" : power(k))),
      ...plot.rows(tops, minus, (v) => (v === 0 ? "dpm-axis" : "dpm-grid")),
    ];
  }
  const cut = (plot) => plot.upright(logAt(place), "dpm-cut");
  function drawCurve() {
    const shown = visible(found.density);
    const top = Math.max(0.3, 1.1 * Math.max(...shown));
    const plot = scales(curve, MARGINS, [LOW, SHOWN], [0, top]);
    const all = shown.map((v, i) => [logAt(i), v]);
    const fill = [[logAt(place), 0], ...all.slice(place), [SHOWN, 0]];
    const every = top > 1 ? 5 : top < 0.5 ? 1 : 2; // tenths
    const tops = evenly(0, 20, 20).filter((tenths) => tenths % every === 0 && tenths < 10 * top);
    renew(
      curve,
      svg("polygon", { points: joined(fill.map(plot.place)), class: "dpm-known" }),
      ...axes(
        plot,
        tops.map((tenths) => tenths / 10),
      ),
      plot.curve("dpm-line", all),
      cut(plot),
      text(plot.x(logAt(place)) + 5, plot.top + 12, "t₀", "start"),
    );
  }
  function drawSums() {
    const areas = visible(found.area);
    const rests = visible(found.known).map((v) => found.entropy - v);
    const top = 1.08 * Math.max(...areas, found.entropy, 0.2);
    const bottom = Math.min(0, 1.08 * Math.min(...rests, found.entropy));
    const plot = scales(sums, MARGINS, [LOW, SHOWN], [bottom, top]);
    const gap = top - bottom > 4 ? 2 : top - bottom > 1.5 ? 1 : 0.5;
    const tops = [];
    for (let v = Math.ceil(bottom / gap) * gap; v <= top; v += gap) tops.push(v + 0);
    renew(
      sums,
      ...axes(plot, tops),
      plot.curve("dpm-line", areas, (v, i) => [logAt(i), v]),
      plot.curve("dpm-rest", rests, (v, i) => [logAt(i), v]),
      plot.curve("dpm-total", areas, (v, i) => [logAt(i), v + rests[i]]),
      cut(plot),
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
      `At t₀ = ${short(found.t[place])}: area ${fixed(area)} nats, the rest ${letter}(y | z(t₀)) = ${fixed(rest)}. ` +
      `Sum ${fixed(area + rest)}. Entropy of the data: ${fixed(found.entropy)} nats = ${fixed(inBits(found.entropy))} bits.`;
    Object.assign(root.dataset, { area, rest, entropy: found.entropy, t: found.t[place] });
  };

  const start = figure.slider({
    label: "Noise t₀",
    min: 0,
    max: (SHOWN - LOW) * PER_DECADE,
    value: place,
    format: (i) => short(10 ** logAt(i)),
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
  figure.keep(
    "points",
    () => (data.count ? null : [data.centers, data.weights]),
    ([centers, weights]) => {
      data.centers = centers.map((v) => clamp(v, -SPAN, SPAN));
      data.weights = weights.map((v) => clamp(v, 0.02, 1));
      found = null;
    },
  );
  makeHandles();
  return figure.close;
}

export default live(render);
