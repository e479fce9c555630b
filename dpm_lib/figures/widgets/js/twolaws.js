// Two laws on the line, to drag: pairs, their flow, and its lines made straight, with Euler's method in few steps.

import { clamp, controls, draggable, html, keys, openFigure, renew, svg, title, uniforms } from "./common.js";
import { budget, distanceTo, lawAt, PATHS, quantile, solve, tableOf } from "./flows.js";
import { lineDensity } from "./mixture.js";
import {
  evenly,
  fixed,
  handle,
  keySteps,
  minus,
  moveHandle,
  openPlot,
  polyline,
  scales,
  sharesAt,
  short,
} from "./plot.js";
import { live } from "./view.js";

// --- Numbers. ---

/** Euler's method after reflow: the lines are straight, and each knows its end. */
export const straight = (x, ends, steps) =>
  Array.from({ length: steps + 1 }, (_, i) => x.map((v, j) => v + (i / steps) * (ends[j] - v)));

/** Where the map of the flow takes places of the source with these chances below: to the same quantiles of the target. */
export const image = (cdf, target) => cdf.map((u) => quantile([u, 1 - u], target));

// --- The figure. ---

const SIDE = 3;
const COUNT = 28;
const U = Array.from({ length: COUNT }, (_, i) => (i + 0.5) / COUNT);
const TIMES = evenly(0, 1, 40);
const MARGINS = { left: 56, right: 56, top: 8, bottom: 22 };
const PRESETS = {
  "normal to three clumps": { target: [[-1.5, 0.3, 1.2], [0.3, 0.5, 0.2], 0.04], source: [[0], [1], 1] },
  "two clumps to two": { target: [[-1.6, 1.6], [0.3, 0.7], 0.06], source: [[-1.6, 1.6], [0.7, 0.3], 0.06] },
  "three to one": { target: [[0.8], [1], 0.1], source: [[-2, 0, 2], [0.3, 0.4, 0.3], 0.06] },
};
const VIEWS = { pairs: "pairs at random", flow: "their flow", once: "reflow once", twice: "reflow twice" };
const law = ([centers, weights, variance]) => ({ centers: centers.slice(), weights, variance });

function render({ model, el }) {
  const figure = openFigure(model, el, "twolaws");
  let view = model.get("view");
  let steps = model.get("steps");
  let sides;
  let knobs = [];

  const lines = openPlot(figure, "dpm-lines", "Lines from data at the left to the source at the right", "group");
  const backdrop = svg("g", { role: "img", "aria-label": "Lines, and the two laws on their sides" });
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const flow = () => ({ ...sides, path: PATHS.linear });

  function makeKnobs() {
    knobs = ["target", "source"].flatMap((side) =>
      sides[side].centers.map((_, k) => {
        const words = side === "target" ? "data" : "source";
        const label = `clump ${k + 1} of the ${words}`;
        const node = handle({ label, min: -SIDE, max: SIDE, orientation: "vertical", kind: `dpm-ink-${side}` });
        const put = (value) => {
          sides[side].centers[k] = clamp(value, -SIDE + 0.5, SIDE - 0.5);
          preset.select.value = "your own";
          figure.redraw();
        };
        draggable(node, {
          keys: keySteps(0.1, 0.5),
          step: (by) => put(sides[side].centers[k] + by),
          drag: (event) => put(-SIDE + 2 * SIDE * sharesAt(event, lines, MARGINS).y),
        });
        return { node, side, k };
      }),
    );
    lines.replaceChildren(backdrop, ...knobs.map(({ node }) => node));
    figure.redraw();
  }
  figure.keep(
    "clumps",
    () => [sides.target.centers, sides.source.centers],
    (both) => {
      const [target, source] = both.map((side) => side.map((v) => clamp(v, -SIDE + 0.5, SIDE - 0.5)));
      sides.target.centers = target;
      sides.source.centers = source;
    },
  );
  function choose(key) {
    sides = { target: law(PRESETS[key].target), source: law(PRESETS[key].source) };
    makeKnobs();
  }
  function sideLaw(plot, one, edge, way, ink) {
    const values = evenly(-SIDE, SIDE, 150).map((v) => [v, lineDensity(v, 0, one)]);
    const top = Math.max(...values.map(([, p]) => p));
    const points = values.map(([v, p]) => [edge + (way * 44 * p) / top, plot.y(v)]);
    return polyline(`dpm-side-law dpm-ink-${ink}`, [[edge, plot.y(-SIDE)], ...points, [edge, plot.y(SIDE)]]);
  }
  function exactLines(plot) {
    const ends = [sides.target, sides.source].map((one) => U.map((u) => quantile([u, 1 - u], one)));
    if (view === "flow") {
      const laws = TIMES.map((s) => lawAt(s, flow()));
      const row = (u) => laws.map((one, i) => [TIMES[i], quantile([u, 1 - u], one)]);
      return U.map((u) => plot.curve("dpm-thread dpm-ink-data", row(u)));
    }
    const uniform = uniforms(5);
    const order = U.map((_, i) => [uniform(), i]).sort((p, q) => p[0] - q[0]);
    const partner = (i) => (view === "pairs" ? order[i][1] : i);
    return U.map((_, i) =>
      plot.curve(view === "pairs" ? "dpm-pairline" : "dpm-thread dpm-ink-data", [
        [0, ends[0][i]],
        [1, ends[1][partner(i)]],
      ]),
    );
  }
  function eulers(places) {
    if (view === "once" || view === "twice") return straight(places.x, image(places.cdf, sides.target), steps);
    return solve(places.x, steps, flow());
  }
  figure.draw = () => {
    const plot = scales(lines, MARGINS, [0, 1], [-SIDE, SIDE], { held: "y" });
    const table = tableOf(sides.source, 401);
    const states = eulers(table);
    const off = distanceTo(sides.target, states.at(-1), table.cdf);
    const few = eulers({ x: U.map((u) => quantile([u, 1 - u], sides.source)), cdf: U });
    const spent = budget(flow(), 101, 24);
    const shown = view === "pairs" ? [] : few[0].map((_, j) => few.map((row, i) => [1 - i / steps, row[j]]));
    renew(
      backdrop,
      sideLaw(plot, sides.target, plot.left, -1, "data"),
      sideLaw(plot, sides.source, plot.end, 1, "limit"),
      ...exactLines(plot),
      ...shown.map((row) => plot.curve("dpm-thread dpm-ink-model", row)),
      plot.axis(),
      ...plot.marks([0, 0.5, 1], (v) => ({ 0: "data, s = 0", 0.5: "0.5", 1: "s = 1, source" })[v]),
    );
    for (const { node, side, k } of knobs) {
      const v = sides[side].centers[k];
      moveHandle(
        node,
        side === "target" ? plot.left - 24 : plot.end + 24,
        plot.y(v),
        v.toFixed(2),
        minus(v.toFixed(2)),
      );
    }
    const cost = { pairs: spent.pairs, flow: spent.pairs, once: spent.flow, twice: spent.flow }[view];
    const bend = view === "once" || view === "twice" ? 0 : spent.bend;
    const unknown = view === "once" || view === "twice" ? 0 : spent.unknown;
    detail.textContent =
      `The pairs cost ${fixed(cost, 3)}: ${fixed(spent.flow, 3)} for the map of their flow, ${fixed(bend, 3)} for its ` +
      `bending, ${fixed(unknown, 3)} for what no velocity can tell of a pair. ` +
      (view === "pairs"
        ? ""
        : `Euler’s method in ${steps} ${steps > 1 ? "steps" : "step"} ends ${off < 5e-4 ? "on" : `${short(off)} from`} the data.`);
    Object.assign(figure.root.dataset, { view, steps, off, cost, bend, unknown, kept: spent.flow });
  };

  const preset = figure.presetChooser({ label: "Laws", names: Object.keys(PRESETS), set: choose });
  const what = figure.chooser({
    label: "Lines",
    options: Object.entries(VIEWS),
    value: view,
    set: (value) => (view = value),
  });
  const count = figure.slider({ label: "Euler steps", min: 1, max: 32, value: steps, set: (value) => (steps = value) });
  figure.add(
    title("Two laws, and lines between them", " drag a clump, or use the arrow keys"),
    lines,
    keys({ data: "exact lines of the flow", model: "Euler’s method, from the right", muted: "pairs at random" }),
    controls(preset, what, count),
    detail,
  );
  choose(preset.select.value);
  return figure.close;
}

export default live(render);
