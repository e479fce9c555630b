// One flow on three paths: the same trajectories with another clock and scale, and how much they bend.

import { controls, html, isCalm, keys, openFigure, renew, renewFor, sizeOf, svg, title, uniforms } from "./common.js";
import { budget, lawAt, NORMAL, PATHS, quantile, SIGMA } from "./flows.js";
import { lineDensity } from "./mixture.js";
import { circle, evenly, fixed, openPlot, polyline, power, scales, short, text } from "./plot.js";
import { live } from "./view.js";

// --- Numbers. ---

/** The states at all `times` of the flow through the quantiles u of the data: one row for each. */
export function threads(u, times, flow) {
  const laws = times.map((s) => lawAt(s, flow));
  return u.map((v) => laws.map((law) => quantile([v, 1 - v], law)));
}

// --- The figure. ---

const COUNT = 30;
const TIMES = evenly(0, 1, 48);
const U = Array.from({ length: COUNT }, (_, i) => (i + 0.5) / COUNT);
const LOW = 1e-3;
const DATA = {
  clumps: { words: "three clumps", centers: [-1.5, 0.3, 1.2], weights: [0.3, 0.5, 0.2], variance: 0.04 },
  two: { words: "two clumps", centers: [-1.2, 0.9], weights: [0.35, 0.65], variance: 0.1 },
  one: { words: "one normal, variance 1", centers: [0], weights: [1], variance: 1 },
  narrow: { words: "one normal, variance 0.25", centers: [0], weights: [1], variance: 0.25 },
};
const WORDS = {
  linear: "linear",
  cosine: "cosine (variance preserving)",
  exploding: `variance exploding, to σ = ${SIGMA}`,
};
const MARGINS = { left: 48, right: 48, top: 8, bottom: 22 };
const SECOND = { left: 48, right: 48, top: 8, bottom: 36, foot: 20 };

function render({ model, el }) {
  const figure = openFigure(model, el, "threepaths");
  let name = model.get("path");
  let data = "clumps";
  let s = 0.5;
  let pairs = false;
  let rows;
  let spent;

  const lines = openPlot(
    figure,
    "dpm-lines",
    "Thirty trajectories of the flow, x against s from data at the left to noise at the right",
  );
  const same = openPlot(
    figure,
    "dpm-unshrunk",
    "The same trajectories unshrunk, z over the root of 1 + t, against the variance t of the noise",
  );
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const flow = () => ({ target: DATA[data], source: NORMAL, path: PATHS[name] });
  const scale = (t) => Math.sqrt(1 + t);

  for (const plot of [lines, same]) plot.append(svg("g"), svg("g")); // what stands still, and what moves

  function compute() {
    rows = threads(U, TIMES, flow());
    spent = budget(flow(), 121, 24);
    figure.redraw();
  }

  /** The density of a law, laid on its side from the edge of the plot. */
  function sideLaw(plot, law, edge, way, reach, ink) {
    const values = evenly(-reach, reach, 120).map((v) => [v, lineDensity(v, 0, law)]);
    const top = Math.max(...values.map(([, p]) => p));
    const points = values.map(([v, p]) => [edge + (way * 38 * p) / top, plot.y(v)]);
    return polyline(`dpm-side-law dpm-ink-${ink}`, [[edge, plot.y(-reach)], ...points, [edge, plot.y(reach)]]);
  }
  function drawLines() {
    const reach = name === "exploding" ? 10 : 3.2;
    const plot = scales(lines, MARGINS, [0, 1], [-reach, reach], { held: "y" });
    const uniform = uniforms(3);
    const order = U.map((v) => [uniform(), v]).sort((p, q) => p[0] - q[0]);
    const path = PATHS[name];
    const pair = (u, i) => {
      const y = quantile([u, 1 - u], DATA[data]);
      const e = quantile([order[i][1], 1 - order[i][1]], NORMAL);
      return plot.curve("dpm-pairline", TIMES, (at) => [at, path.a(at) * y + path.b(at) * e]);
    };
    const at = Math.round(s * (TIMES.length - 1));
    renewFor(lines.firstChild, [name, data, pairs, sizeOf(lines)], () => [
      sideLaw(plot, DATA[data], plot.left, -1, reach, "data"),
      sideLaw(plot, lawAt(1, flow()), plot.end, 1, reach, "limit"),
      ...(pairs ? U.map(pair) : []),
      ...rows.map((row) => plot.curve("dpm-thread dpm-ink-model", row, (v, i) => [TIMES[i], v])),
      plot.axis(),
      ...plot.marks([0, 0.5, 1], (v) => ({ 0: "data, s = 0", 0.5: "0.5", 1: "s = 1, noise" })[v]),
    ]);
    renew(
      lines.lastChild,
      plot.upright(s, "dpm-grid"),
      ...rows.map((row) => circle("dpm-bead dpm-ink-model", plot.x(s), plot.y(row[at]), 2.6)),
    );
  }
  function drawSame() {
    const target = DATA[data];
    const top = SIGMA ** 2;
    const plot = scales(same, SECOND, [LOW, top], [-2.5, 2.5], { log: "x", held: "xy" });
    const levels = evenly(Math.log(LOW), Math.log(top), 48).map(Math.exp);
    const unit = (t) => ({
      centers: target.centers.map((c) => c / scale(t)),
      weights: target.weights,
      variance: (target.variance + t) / (1 + t),
    });
    const tau = (PATHS[name].b(s) / PATHS[name].a(s)) ** 2;
    const inside = tau >= LOW && tau <= top;
    const here = (u) => circle("dpm-bead dpm-ink-model", plot.x(tau), plot.y(quantile([u, 1 - u], unit(tau))), 2.6);
    renewFor(same.firstChild, [data, sizeOf(same)], () => {
      const laws = levels.map(unit);
      return [
        ...U.map((u) => {
          const row = laws.map((law) => quantile([u, 1 - u], law));
          return plot.curve("dpm-thread dpm-ink-drift", row, (v, i) => [levels[i], v]);
        }),
        plot.axis(),
        ...plot.marks([0.001, 0.01, 0.1, 1, 10], (v) => power(Math.round(Math.log10(v)))),
        text((plot.left + plot.end) / 2, plot.height - 2, "t, the variance of the noise"),
      ];
    });
    renew(same.lastChild, ...(inside ? [plot.upright(tau, "dpm-grid"), ...U.map(here)] : []));
  }
  figure.draw = () => {
    drawLines();
    drawSame();
    const path = PATHS[name];
    const tau = (path.b(s) / path.a(s)) ** 2;
    detail.textContent =
      `At s = ${s.toFixed(2)}: a = ${fixed(path.a(s), 2)}, b = ${fixed(path.b(s), 2)}, t = ${tau < 1e6 ? short(tau) : "∞"}. ` +
      `The flow bends by ${fixed(spent.bend, 3)} (the mean of |v − (x₁ − x₀)|²); what no velocity can tell of a pair’s own: ` +
      `${fixed(spent.unknown, 3)}.`;
    Object.assign(figure.root.dataset, { path: name, data, s, tau, bend: spent.bend, unknown: spent.unknown, t: s });
  };

  const choice = figure.chooser({
    label: "Path",
    options: Object.entries(WORDS),
    value: name,
    set: (value) => (name = value),
    after: compute,
  });
  const target = figure.chooser({
    label: "Data",
    options: Object.entries(DATA).map(([key, { words }]) => [key, words]),
    value: data,
    set: (value) => (data = value),
    after: compute,
  });
  const clock = figure.slider({
    wide: true,
    label: "Time s",
    min: 0,
    max: 1,
    step: 1 / 48,
    value: s,
    format: (v) => `s = ${v.toFixed(2)}`,
    set: (v) => (s = v),
  });
  const play = figure.playSteps(
    () => (isCalm() ? 8 : 16),
    (count) => {
      s = s >= 1 ? 0 : Math.min(1, s + count / 48);
      clock.set(s);
      if (s >= 1) play.set(false);
      figure.redraw();
    },
  );
  const show = figure.checkbox({ label: "Pairs at random", set: (on) => (pairs = on) });
  figure.add(
    title("The flow on this path", ` x against s`),
    lines,
    keys({ model: "trajectories of the flow", data: "data", limit: "noise", muted: "pairs" }),
    controls(choice, target, show),
    controls(play, clock),
    title("The same flow, unshrunk", ` z / √(1 + t) against t: no path moves it`),
    same,
    detail,
  );
  compute();
  return figure.close;
}

export default live(render);
