// One pixel: what its noisy value says, what the others say of its level, and both together.

import { clamp, controls, draggable, html, openFigure, renew, svg } from "./common.js";
import { handle, joined, keySteps, moveHandle, openPlot, rect, scales, sharesAt } from "./plot.js";
import { live } from "./view.js";

const MARGINS = { left: 12, right: 12, top: 10, bottom: 34 };

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

  const cells = openPlot(figure, "dpm-cells", "the pixel's density by level", "group");
  const backdrop = svg("g");
  const label = "noisy value of the pixel, in levels";
  const grip = handle({ label, min: 0, max: L, orientation: "horizontal" });
  cells.append(backdrop, grip);
  const words = html("p", { class: "dpm-results" });
  const put = (next) => {
    y = clamp(next, 0, L);
    figure.redraw();
  };
  figure.keep("value", () => y, put);
  draggable(grip, {
    keys: keySteps(0.05, 1),
    step: (by) => put(y + by),
    drag: (event) => put(sharesAt(event, cells, MARGINS).x * L),
  });

  figure.draw = () => {
    const plot = scales(cells, MARGINS, [0, L], [0, 1]);
    const weights = opinions.get(opinion);
    const { mean, deviation } = posterior(y, s, edges, weights);
    const points = [];
    for (let k = 0; k < L; k++) for (let i = 0; i <= 40; i++) points.push([k + i / 40, k]);
    const logs = points.map(([x, k]) => Math.log(weights[k]) - ((x - y) * (x - y)) / (2 * s * s));
    const top = Math.max(...logs);
    const bell = (x) => Math.exp((-(x - y) * (x - y)) / (2 * s * s));
    const both = points.map(([x], i) => [x, Math.exp(logs[i] - top)]);
    const tallest = Math.max(...weights);
    const [from, to] = [clamp(mean - deviation, 0, L), clamp(mean + deviation, 0, L)];
    const wide = Math.max(1, plot.x(to) - plot.x(from));
    renew(
      backdrop,
      ...weights.map((w, k) => plot.bar("dpm-opinion", k + 0.08, k + 0.92, w / tallest)),
      rect("dpm-band", plot.x(from), plot.top, wide, plot.floor - plot.top),
      svg("polygon", { class: "dpm-posterior", points: joined([[0, 0], ...both, [L, 0]].map(plot.place)) }),
      plot.curve("dpm-evidence", points, ([x]) => [x, bell(x)]),
      plot.upright(mean, "dpm-mean"),
      plot.across(0),
      ...plot.marks(
        [0, Math.floor(L / 2), L - 1].map((k) => k + 0.5),
        (v) => v - 0.5,
      ),
    );
    const said = `noisy value ${y.toFixed(2)}; the pixel is expected at ${mean.toFixed(2)}`;
    moveHandle(grip, plot.x(y), plot.floor, y.toFixed(2), said);
    words.textContent = `noisy value ${y.toFixed(2)}, noise ± ${s.toPrecision(2)}; the pixel is ${mean.toFixed(2)} ± ${deviation.toFixed(2)} levels`;
    Object.assign(root.dataset, { mean, deviation, y });
  };
  const noise = figure.slider({
    label: "Noise",
    min: Math.log(least),
    max: Math.log(most),
    step: 0.02,
    value: Math.log(s),
    format: (v) => `± ${Math.exp(v).toPrecision(3)} levels`,
    set: (v) => (s = Math.exp(v)),
  });
  const others = figure.chooser({
    label: "The others say",
    options: [...opinions.keys()],
    value: opinion,
    set: (name) => (opinion = name),
  });
  figure.add(
    controls(noise, others),
    cells,
    words,
    html(
      "p",
      { class: "dpm-legend" },
      html("span", { class: "dpm-key-data" }, "its own noisy value says"),
      html("span", { class: "dpm-key-muted" }, "the others say"),
      html("span", { class: "dpm-key-model" }, "both"),
    ),
  );
  return figure.close;
}

export default live(render);
