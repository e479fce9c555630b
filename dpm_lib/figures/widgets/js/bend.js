// A crowd in a potential that the reader bends: particles by Euler-Maruyama, their density by the same equation's rates.

import {
  button,
  clamp,
  cleared,
  controls,
  draggable,
  fillNormals,
  html,
  isCalm,
  keys,
  openFigure,
  renew,
  svg,
  uniforms,
} from "./common.js";
import { handle, keySteps, minus, moveHandle, openPlot, scales, sharesAt } from "./plot.js";
import { totalVariation } from "./probability.js";
import { live } from "./view.js";

// --- Numbers; the twins are dpm_lib.figures.widgets.diffusion.potential and dpm_lib.sde.fokker_planck. ---

/** U and U' at x: cubic pieces through heights at -reach, ..., reach, with the slope of the chord between neighbours. */
export function potential(x, heights, reach) {
  const last = heights.length - 1;
  const h = (2 * reach) / last;
  const i = clamp(Math.floor((x + reach) / h), 0, last - 1);
  const s = (x + reach) / h - i;
  const slope = (k) =>
    (heights[Math.min(k + 1, last)] - heights[Math.max(k - 1, 0)]) / (Math.min(k + 1, last) - Math.max(k - 1, 0));
  const [a, b, m, n] = [heights[i], heights[i + 1], slope(i), slope(i + 1)];
  const c2 = 3 * (b - a) - 2 * m - n;
  const c3 = 2 * (a - b) + m + n;
  return [a + s * (m + s * (c2 + s * c3)), (m + s * (2 * c2 + 3 * s * c3)) / h];
}

/** z / (e^z - 1). */
export const bernoulli = (z) => (z === 0 ? 1 : z / Math.expm1(z));

/** The rates between neighbouring cells of width h for dX = -U'(X) dt + sqrt(2 temperature) dW: up[i], from i to i + 1. */
export function rates(U, h, temperature) {
  const scale = temperature / (h * h);
  const up = new Float64Array(U.length - 1);
  const down = new Float64Array(U.length - 1);
  for (let i = 0; i + 1 < U.length; i++) {
    const rise = (U[i] - U[i + 1]) / temperature; // of log p in equilibrium
    up[i] = scale * bernoulli(-rise);
    down[i] = scale * bernoulli(rise);
  }
  return { up, down };
}

/** One backward Euler step of dp/dt = p Q: elimination along the line of cells. Never negative, for any dt. */
export function implicitStep(p, { up, down }, dt) {
  const n = p.length;
  const share = new Float64Array(n);
  const next = new Float64Array(n);
  let pivot = 0;
  for (let i = 0; i < n; i++) {
    const diagonal = 1 + dt * ((i < n - 1 ? up[i] : 0) + (i > 0 ? down[i - 1] : 0));
    const inflow = i > 0 ? dt * up[i - 1] : 0; // from the left, into i
    pivot = diagonal - (i > 0 ? inflow * share[i - 1] : 0);
    share[i] = i < n - 1 ? (dt * down[i]) / pivot : 0;
    next[i] = (p[i] + (i > 0 ? inflow * next[i - 1] : 0)) / pivot;
  }
  for (let i = n - 2; i >= 0; i--) next[i] += share[i] * next[i + 1];
  return next;
}

/** The law of rest, proportional to exp(-U / temperature). */
export function restingLaw(U, temperature) {
  const lowest = Math.min(...U);
  const weights = U.map((u) => Math.exp((lowest - u) / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / total);
}

/** One Euler-Maruyama step of all particles, in place; the walls at -wall and wall reflect. */
export function particleStep(x, noise, dt, temperature, heights, reach, wall) {
  const kick = Math.sqrt(2 * temperature * dt);
  for (let i = 0; i < x.length; i++) {
    let y = x[i] - potential(clamp(x[i], -reach, reach), heights, reach)[1] * dt + kick * noise[i];
    if (y > wall) y = 2 * wall - y;
    if (y < -wall) y = -2 * wall - y;
    x[i] = clamp(y, -wall, wall);
  }
}

/** The largest distance between the particles' distribution function and that of the law, seen at the cells' walls. */
export function kolmogorovDistance(x, p, reach, h) {
  const counts = new Float64Array(p.length);
  for (const v of x) counts[clamp(Math.floor((v + reach) / h + 0.5), 0, p.length - 1)] += 1;
  let gap = 0;
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    sum += counts[i] / x.length - p[i];
    gap = Math.max(gap, Math.abs(sum));
  }
  return gap;
}

// --- The figure. ---

const PRESETS = {
  "two wells": [4, 0.2, 1.2, 1.8, 1.3, 0.6, 4],
  "one well": [4, 1.8, 0.5, 0, 0.5, 1.8, 4],
  "three wells": [3.4, 0.6, 2.4, 0.4, 2.4, 0, 3.4],
  "a slope": [4, 3.4, 2.8, 2.2, 1.6, 1, 0.4],
  flat: [1, 1, 1, 1, 1, 1, 1],
};
const TOP = 5;
const DT = 0.004;

function render({ model, el }) {
  const figure = openFigure(model, el, "bend");
  const reach = model.get("reach");
  const cells = model.get("cells");
  const h = (2 * reach) / (cells - 1);
  const wall = reach + h / 2;
  const places = Array.from({ length: cells }, (_, i) => -reach + i * h);
  let heights = PRESETS["two wells"].slice();
  let temperature = 0.5;
  let from = "left";
  let seed = 1;
  let time = 0;
  let owed = 0;
  let x;
  let lanes;
  let noise;
  let uniform;
  let p;
  let U;
  let rest;
  let flow;

  const label = "The potential, with a handle at every whole number";
  const landscape = openPlot(figure, "dpm-landscape", label, "group");
  const crowd = figure.canvas("Particles, each in a lane of its own");
  const about = "Histogram of the particles, their density, and the density of rest";
  const density = openPlot(figure, "dpm-density", about);
  const detail = html("p", { class: "dpm-detail dpm-now" });

  function bend() {
    U = places.map((v) => potential(v, heights, reach)[0]);
    flow = rates(U, h, temperature);
    rest = restingLaw(U, temperature);
    figure.redraw();
  }
  const START = { left: [-2, 0.15], middle: [0, 0.15], everywhere: [0, Infinity] };
  function restart() {
    const n = model.get("n");
    uniform = uniforms(seed);
    const [centre, width] = START[from];
    const weights = places.map((v) => (width < Infinity ? Math.exp(-0.5 * ((v - centre) / width) ** 2) : 1));
    const total = weights.reduce((a, b) => a + b, 0);
    p = Float64Array.from(weights, (w) => w / total);
    x = fillNormals(new Float64Array(n), uniform);
    noise = new Float64Array(n);
    for (let i = 0; i < n; i++) x[i] = width < Infinity ? centre + width * x[i] : wall * (2 * uniform() - 1);
    lanes = Float64Array.from({ length: n }, uniform);
    time = owed = 0;
    figure.redraw();
  }
  function advance(seconds) {
    owed += seconds;
    for (; owed >= DT; owed -= DT) {
      fillNormals(noise, uniform);
      particleStep(x, noise, DT, temperature, heights, reach, wall);
      p = implicitStep(p, flow, DT);
      time += DT;
    }
    figure.redraw();
  }

  // --- Drawing. All three panels share the horizontal axis. ---

  const SIDES = { left: 12, right: 12 };
  const HIGH = { ...SIDES, top: 10, bottom: 10 };
  const LOW = { ...SIDES, top: 6, bottom: 20 };
  const curve = svg("g");
  const handles = heights.map((_, k) => {
    const place = -reach + (2 * reach * k) / (heights.length - 1);
    const name = minus(`Potential at x = ${place}`);
    const node = handle({ label: name, min: 0, max: TOP, orientation: "vertical", dot: 8, grip: 16 });
    const set = (value) => {
      heights[k] = Math.round(100 * clamp(value, 0, TOP)) / 100;
      preset.select.value = "your own";
      bend();
    };
    const drag = (event) => set(sharesAt(event, landscape, HIGH).y * TOP);
    draggable(node, { keys: keySteps(0.2, 1, TOP), step: (by) => set(heights[k] + by), take: drag, drag });
    return { node, place };
  });
  landscape.append(curve, ...handles.map(({ node }) => node));
  const raise = (value, k) => {
    heights[k] = clamp(value, 0, TOP);
  };
  figure.keep(
    "heights",
    () => [...heights],
    (values) => {
      values.forEach(raise);
      bend();
    },
  );

  function drawLandscape() {
    const plot = scales(landscape, HIGH, [-wall, wall], [0, TOP]);
    renew(
      curve,
      plot.curve("dpm-line", U, (u, i) => [places[i], u]),
    );
    handles.forEach(({ node, place }, k) => {
      moveHandle(node, plot.x(place), plot.y(heights[k]), heights[k], heights[k].toFixed(1));
    });
  }
  function drawCrowd() {
    const context = cleared(crowd, figure.colours.panel);
    const pixel = devicePixelRatio;
    context.globalAlpha = 0.55;
    context.fillStyle = figure.colours.model;
    const width = crowd.width / pixel;
    for (let i = 0; i < x.length; i++) {
      context.fillRect(
        (12 + ((width - 24) * (x[i] + wall)) / (2 * wall) - 1.2) * pixel,
        (0.04 + 0.9 * lanes[i]) * crowd.height,
        2.4 * pixel,
        2.4 * pixel,
      );
    }
  }
  function drawDensity() {
    const bars = new Float64Array((cells - 1) / 3);
    const wide = (2 * wall) / bars.length;
    for (const v of x) bars[clamp(Math.floor((v + wall) / wide), 0, bars.length - 1)] += 1 / (x.length * wide);
    const top = Math.max(0.5, (1.25 * Math.max(...rest)) / h, (1.05 * Math.max(...p)) / h);
    const plot = scales(density, LOW, [-wall, wall], [0, top], { held: "y" });
    const half = (0.5 * wide) / (plot.x(wide) - plot.x(0)); // of a pixel
    renew(
      density,
      ...Array.from(bars, (v, i) => plot.bar("dpm-walkers", i * wide - wall + half, (i + 1) * wide - wall - half, v)),
      plot.curve("dpm-exact", p, (v, i) => [places[i], v / h]),
      plot.curve("dpm-target", rest, (v, i) => [places[i], v / h]),
      plot.axis(),
      ...plot.marks(handles.map(({ place }) => place)),
    );
  }
  figure.draw = () => {
    drawLandscape();
    if (crowd.width) drawCrowd();
    drawDensity();
    const gap = kolmogorovDistance(x, p, reach, h);
    const away = totalVariation(p, rest);
    detail.textContent =
      `Time ${time.toFixed(2)}. Particles against density: distribution functions differ by at most ${gap.toFixed(3)} ` +
      `(chance alone keeps it below ${(1.36 / Math.sqrt(x.length)).toFixed(3)} 19 times out of 20). Density against rest: total variation ${away.toFixed(3)}.`;
    Object.assign(figure.root.dataset, { t: time.toFixed(3), gap, away, temperature });
  };

  const preset = figure.presetChooser({
    label: "Potential",
    names: Object.keys(PRESETS),
    value: "two wells",
    set: (name) => (heights = PRESETS[name].slice()),
    after: bend,
  });
  const heat = figure.slider({
    label: "Temperature",
    min: 0.1,
    max: 2,
    step: 0.05,
    value: temperature,
    format: (value) => value.toFixed(2),
    set: (value) => (temperature = value),
    after: bend,
  });
  const begin = figure.chooser({
    label: "Start",
    options: [
      ["left", "all on the left"],
      ["middle", "all in the middle"],
      ["everywhere", "everywhere"],
    ],
    value: from,
    set: (value) => (from = value),
    after: restart,
  });
  const again = button("Start again", () => (seed += 1), restart);
  const later = button("Half a unit on", () => {
    play.set(false);
    advance(0.5);
  });
  const play = figure.playButton((seconds) => advance(seconds * (isCalm() ? 0.3 : 1)));
  figure.add(
    landscape,
    html("div", { class: "dpm-crowd" }, crowd),
    density,
    keys({ model: "particles", data: "their density, computed", limit: "density of rest" }),
    controls(play, later, again, begin),
    controls(heat, preset),
    detail,
  );
  bend();
  restart();
  figure.onChange("n", restart);
  return figure.close;
}

export default live(render);
