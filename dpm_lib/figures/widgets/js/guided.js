// Guidance on a line, as densities: the law that a guided way back makes, with and without weights, beside the tilt.

import { clamp, controls, draggable, html, keys, openFigure, renew, title } from "./common.js";
import { evenly, fixed, handle, keySteps, line, minus, moveHandle, openPlot, scales, sharesAt, text } from "./plot.js";
import { totalVariation } from "./probability.js";
import { live } from "./view.js";

export const LOW = -4,
  HIGH = 5,
  CELLS = 300,
  FIRST = 1e6; // the variance of the noise at the start
const PLACES = evenly(LOW, HIGH, CELLS);
const WIDTH = (HIGH - LOW) / CELLS;
const STEPS = 280;
const REACH = 14; // of the table of the SDE, in standard deviations of a blurred clump
const GAP = 0.1;
const SCALES = evenly(0, 5, 20);

// --- Numbers. Data are { centers, weights, variance, members }: members[k] says whether clump k is of the class. ---
// Time is u = log(variance + t): a blurred clump then shrinks at an even pace, and no step is stiff for one clump.

/** At z and blurred width variance + t: the mean centre given z for all and for the class, and its variances. */
export function centersGiven(z, width, { centers, weights, members }) {
  let nearest = Infinity;
  let nearestIn = Infinity;
  for (let k = 0; k < centers.length; k++) {
    const off = (z - centers[k]) ** 2;
    if (off < nearest) nearest = off;
    if (members[k] && off < nearestIn) nearestIn = off;
  }
  const sums = [0, 0, 0, 0, 0, 0];
  for (let k = 0; k < centers.length; k++) {
    const off = (z - centers[k]) ** 2;
    const share = weights[k] * Math.exp((nearest - off) / (2 * width));
    sums[0] += share;
    sums[1] += share * centers[k];
    sums[2] += share * centers[k] ** 2;
    if (!members[k]) continue;
    const inside = weights[k] * Math.exp((nearestIn - off) / (2 * width));
    sums[3] += inside;
    sums[4] += inside * centers[k];
    sums[5] += inside * centers[k] ** 2;
  }
  const all = sums[1] / sums[0];
  const own = sums[4] / sums[3];
  return { all, own, allVar: sums[2] / sums[0] - all ** 2, ownVar: sums[5] / sums[3] - own ** 2 };
}

/** Of the guided flow in u at z: its speed, the growth of log dz, and of log w. */
function slopes(z, u, w, data) {
  const width = Math.exp(u);
  const { all, own, allVar, ownVar } = centersGiven(z, width, data);
  return [
    0.5 * (z - all - w * (own - all)),
    0.5 * (1 - ((1 - w) * allVar + w * ownVar) / width),
    (0.5 * w * (w - 1) * (own - all) ** 2) / width,
  ];
}

function normalised(logs) {
  const top = logs.reduce((a, b) => Math.max(a, b));
  const raw = logs.map((v) => Math.exp(v - top));
  const total = raw.reduce((a, b) => a + b, 0) * WIDTH;
  return raw.map((v) => v / total);
}

/** Densities at PLACES of the guided flow from N(0, 1 + FIRST), plain and weighted: each place is followed up. */
export function flowLaw(w, data, steps = STEPS) {
  const from = Math.log(data.variance);
  const h = (Math.log(data.variance + FIRST) - from) / steps;
  const ends = PLACES.map((place) => {
    let [z, stretch, weight] = [place, 0, 0];
    for (let i = 0; i < steps; i++) {
      const u = from + i * h;
      const a = slopes(z, u, w, data);
      const b = slopes(z + 0.5 * h * a[0], u + 0.5 * h, w, data);
      const c = slopes(z + 0.5 * h * b[0], u + 0.5 * h, w, data);
      const d = slopes(z + h * c[0], u + h, w, data);
      const step = (k) => (h / 6) * (a[k] + 2 * b[k] + 2 * c[k] + d[k]);
      [z, stretch, weight] = [z + step(0), stretch + step(1), weight + step(2)];
    }
    return [stretch - z ** 2 / (2 * (1 + FIRST)), weight];
  });
  return { plain: normalised(ends.map(([p]) => p)), weighted: normalised(ends.map(([p, v]) => p + v)) };
}

/**
 * The same of the guided SDE, in steps that are exact where the guess of the centre is: a table of z over its spread
 * sqrt(variance + t) is moved, blurred, and, for the weighted law, multiplied by the growth of w.
 */
export function sdeLaw(w, data, steps = STEPS) {
  const from = Math.log(data.variance + FIRST);
  const h = (from - Math.log(data.variance)) / steps;
  const places = evenly(-REACH, REACH, Math.round((2 * REACH) / GAP));
  const noise = Math.sqrt(-Math.expm1(-h));
  const bell = (off) => Math.exp(-0.5 * (off / noise) ** 2);
  let tables = [places.map((q) => Math.exp((-q * q) / 2)), places.map((q) => Math.exp((-q * q) / 2))];
  for (let i = 0; i < steps; i++) {
    const u = from - i * h;
    const spread = Math.exp(u / 2);
    const next = tables.map(() => new Float64Array(places.length));
    places.forEach((q, j) => {
      const z = q * spread;
      const { all, own } = centersGiven(z, spread ** 2, data);
      const guess = all + w * (own - all);
      const mean = (guess + Math.exp(-h) * (z - guess)) / (spread * Math.exp(-h / 2));
      const growth = Math.exp(0.5 * w * (w - 1) * ((own - all) / spread) ** 2 * h);
      const first = Math.max(0, Math.ceil((mean - 6 * noise + REACH) / GAP));
      const last = Math.min(places.length - 1, Math.floor((mean + 6 * noise + REACH) / GAP));
      for (let k = first; k <= last; k++) {
        const share = bell(places[k] - mean);
        next[0][k] += share * tables[0][j];
        next[1][k] += share * tables[1][j] * growth;
      }
    });
    tables = next.map((table) => {
      const top = table.reduce((a, b) => Math.max(a, b));
      return Array.from(table, (v) => v / top);
    });
  }
  const spread = Math.sqrt(data.variance);
  const [plain, weighted] = tables.map((table) =>
    normalised(
      PLACES.map((z) => {
        const at = clamp((z / spread + REACH) / GAP, 0, places.length - 1.001);
        const k = Math.floor(at);
        return Math.log(Math.max(1e-300, table[k] + (at - k) * (table[k + 1] - table[k])));
      }),
    ),
  );
  return { plain, weighted };
}

/** log density at PLACES of all clumps, or of those that `has` names, their shares made to sum to 1. */
function logDensity(data, has) {
  const total = data.weights.reduce((sum, v, k) => sum + (has(k) ? v : 0), 0);
  return PLACES.map((z) => {
    const logs = data.centers.map((m, k) =>
      has(k) ? Math.log(data.weights[k] / total) - (z - m) ** 2 / (2 * data.variance) : -Infinity,
    );
    const top = Math.max(...logs);
    return top + Math.log(logs.reduce((sum, v) => sum + Math.exp(v - top), 0));
  });
}

/** The class's own density at PLACES, and the tilt's, P^(1-w) Q^w. */
export function wanted(w, data) {
  const all = logDensity(data, () => true);
  const own = logDensity(data, (k) => data.members[k]);
  return { own: normalised(own), tilt: normalised(all.map((v, i) => (1 - w) * v + w * own[i])) };
}

/** Mean and standard deviation of a density at PLACES. */
export function momentsOf(p) {
  const mean = p.reduce((sum, v, i) => sum + v * PLACES[i], 0) * WIDTH;
  const square = p.reduce((sum, v, i) => sum + v * (PLACES[i] - mean) ** 2, 0) * WIDTH;
  return { mean, spread: Math.sqrt(square) };
}

export const distance = (p, q) => totalVariation(p, q) * WIDTH;

const LAWS = { flow: flowLaw, SDE: sdeLaw };

// --- The figure. ---

const PRESETS = {
  "two in the class": {
    centers: [-1, 0.4, 1.6],
    weights: [0.5, 0.15, 0.35],
    variance: 0.12,
    members: [false, true, true],
  },
  "one in the class": {
    centers: [-1.2, 0, 1.2],
    weights: [0.4, 0.3, 0.3],
    variance: 0.2,
    members: [false, false, true],
  },
  "far apart": { centers: [-2, 1, 2.2], weights: [0.5, 0.25, 0.25], variance: 0.05, members: [false, true, true] },
  "close together": {
    centers: [-0.6, 0.3, 0.9],
    weights: [0.4, 0.3, 0.3],
    variance: 0.3,
    members: [false, true, true],
  },
};
const MARGINS = { left: 8, right: 8, top: 10, bottom: 22, foot: 5 };
const RAIL = { left: 8, right: 8, top: 18, bottom: 18 };
const SIDE = { left: 44, right: 12, top: 12, bottom: 34, foot: 18 };
const NAMES = ["A", "B", "C"];

function render({ model, el }) {
  const figure = openFigure(model, el, "guided");
  let data = structuredClone(PRESETS["two in the class"]);
  let w = model.get("w");
  let way = "flow";
  let weights = false;
  let sweep = new Map();
  let queue = 0;
  let here;
  let goal;

  const laws = openPlot(figure, "dpm-laws", "Densities: the class, the tilt, and what the guided way back makes");
  const rail = openPlot(figure, "dpm-rail", "Clumps to drag: their place, and their share", "group");
  const course = openPlot(figure, "dpm-course", "Mean of the guided law and of the tilt, against w");
  const words = html("p", { class: "dpm-detail dpm-now" });

  function change() {
    sweep = new Map();
    compute();
  }
  function compute() {
    here = LAWS[way](w, data);
    goal = wanted(w, data);
    queue ||= requestAnimationFrame(work);
    figure.redraw();
  }
  function work() {
    queue = 0; // one value of w in each frame that is free
    const next = SCALES.find((v) => !sweep.has(v));
    if (next === undefined) return;
    const { plain } = LAWS[way](next, data);
    sweep.set(next, [momentsOf(plain).mean, momentsOf(wanted(next, data).tilt).mean]);
    figure.redraw();
    queue = requestAnimationFrame(work);
  }
  const preset = figure.presetChooser({
    label: "Clumps",
    names: Object.keys(PRESETS),
    set: (name) => {
      data = structuredClone(PRESETS[name]);
      data.members.forEach((on, k) => (boxes[k].querySelector("input").checked = on));
    },
    after: change,
  });
  function edited() {
    preset.select.value = "your own";
    change();
  }
  function place(k, center, share) {
    data.centers[k] = Math.round(20 * clamp(center, -3, 3)) / 20;
    const value = Math.round(100 * clamp(share, 0.05, 0.9)) / 100;
    const rest = data.weights.reduce((sum, v, j) => sum + (j === k ? 0 : v), 0);
    data.weights = data.weights.map((v, j) => (j === k ? value : (v * (1 - value)) / rest));
    edited();
  }
  figure.keep(
    "clumps",
    () => [data.centers, data.weights],
    ([centers, weights]) => {
      const shares = weights.map((v) => clamp(v, 0.01, 1));
      const sum = shares.reduce((a, b) => a + b, 0);
      data.centers = centers.map((v) => clamp(v, -3, 3));
      data.weights = shares.map((v) => v / sum);
      change();
    },
  );
  const boxes = NAMES.map((name, k) =>
    figure.checkbox({
      label: name,
      checked: data.members[k],
      set: (on) => {
        data.members[k] = on;
        if (data.members.some((v) => v)) return;
        data.members[k] = true; // a class has something in it
        boxes[k].querySelector("input").checked = true;
      },
      after: edited,
    }),
  );
  const grips = NAMES.map((name, k) => {
    const grip = handle({ label: `Place of clump ${name}`, min: -3, max: 3, kind: "dpm-clump" });
    grip.append(text(0, -12, name));
    const { ArrowUp, ArrowDown, ...along } = keySteps(0.05, 0.5, 6);
    const steps = Object.fromEntries(Object.entries(along).map(([key, by]) => [key, [by, 0]]));
    draggable(grip, {
      keys: { ...steps, ArrowUp: [0, 0.05], ArrowDown: [0, -0.05] },
      step: ([by, up]) => place(k, data.centers[k] + by, data.weights[k] + up),
      drag: (event) => {
        const at = sharesAt(event, rail, RAIL);
        place(k, LOW + (HIGH - LOW) * at.x, at.y);
      },
    });
    return grip;
  });

  function drawRail() {
    const plot = scales(rail, RAIL, [LOW, HIGH], [0, 1]);
    const stems = data.centers.map((m, k) =>
      line(plot.x(m), plot.floor, plot.x(m), plot.y(data.weights[k]), "dpm-axis"),
    );
    grips.forEach((grip, k) => {
      const inside = data.members[k] ? "in the class" : "not in the class";
      const share = `${Math.round(100 * data.weights[k])}% of all, ${inside}`;
      moveHandle(
        grip,
        plot.x(data.centers[k]),
        plot.y(data.weights[k]),
        data.centers[k],
        `${data.centers[k]}, ${share}`,
      );
      grip.classList.toggle("dpm-inside", data.members[k]);
    });
    rail.querySelectorAll("line").forEach((node) => node.remove());
    rail.prepend(plot.axis(), ...stems);
  }
  function drawLaws() {
    const show = { own: goal.own, tilt: goal.tilt, plain: here.plain, ...(weights && { weighted: here.weighted }) };
    const top = 1.08 * Math.min(2.5 * Math.max(...goal.own), Math.max(...Object.values(show).flat()));
    const plot = scales(laws, MARGINS, [LOW, HIGH], [0, top], { held: "y" });
    renew(
      laws,
      plot.axis(),
      ...plot.marks([-4, -2, 0, 2, 4]),
      ...Object.entries(show).map(([kind, p]) => plot.curve(`dpm-curve-${kind}`, p, (v, i) => [PLACES[i], v])),
    );
  }
  function drawCourse() {
    const points = SCALES.filter((v) => sweep.has(v));
    const values = [...sweep.values()].flat();
    const low = Math.floor(Math.min(...values, ...data.centers));
    const high = Math.max(low + 1, Math.ceil(Math.max(...values, 1)));
    const plot = scales(course, SIDE, [0, 5], [low, high]);
    renew(
      course,
      ...plot.rows(evenly(low, high, Math.min(4, high - low))),
      ...plot.marks([0, 1, 2, 3, 4, 5]),
      line(plot.x(w), plot.top, plot.x(w), plot.floor, "dpm-here"),
      plot.curve("dpm-curve-tilt", points, (v) => [v, sweep.get(v)[1]]),
      plot.curve("dpm-curve-plain", points, (v) => [v, sweep.get(v)[0]]),
    );
  }
  figure.draw = () => {
    drawRail();
    drawLaws();
    drawCourse();
    const [plain, tilt, own] = [here.plain, goal.tilt, goal.own].map(momentsOf);
    const far = distance(here.plain, goal.tilt);
    const near = distance(here.weighted, goal.tilt);
    const tell = ({ mean, spread }) => `mean ${fixed(mean, 2)}, spread ${fixed(spread, 2)}`;
    words.textContent =
      `w = ${w.toFixed(1)} (Ho and Salimans write ${minus((w - 1).toFixed(1))}). Guided: ${tell(plain)}. Tilt: ${tell(tilt)}. ` +
      `The class: ${tell(own)}. Total variation from the tilt: ${far.toFixed(3)}` +
      (weights ? `; with weights ${near.toFixed(3)}.` : ".");
    const ready = SCALES.every((v) => sweep.has(v)) ? 1 : 0;
    Object.assign(figure.root.dataset, { w, way, far, near, mean: plain.mean, tilt: tilt.mean, weights, ready });
  };
  const scale = figure.slider({
    wide: true,
    label: "Scale w",
    min: 0,
    max: 5,
    step: 0.1,
    value: w,
    format: (v) => v.toFixed(1),
    set: (v) => (w = v),
    after: compute,
  });
  const which = figure.chooser({
    label: "Way back",
    options: [
      ["flow", "flow, no noise"],
      ["SDE", "SDE, noise"],
    ],
    value: way,
    set: (v) => (way = v),
    after: change,
  });
  const weigh = figure.checkbox({ label: "With weights", checked: weights, set: (on) => (weights = on) });
  rail.append(...grips);
  figure.add(
    controls(scale, which, weigh),
    laws,
    keys({ muted: "the class", limit: "the tilt", model: "guided", drift: "guided, with weights" }),
    rail,
    controls(preset, html("span", {}, "In the class:"), ...boxes),
    title("Mean, against w"),
    course,
    words,
  );
  compute();
  const { close } = figure;
  figure.close = () => {
    cancelAnimationFrame(queue);
    close();
  };
  return figure.close;
}

export default live(render);
