// Metropolis and Gibbs walking on the same banana, side by side.

import { button, controls, drawPoints, fillNormals, html, isCalm, openFigure, openSquare, uniforms } from "./common.js";
import { live } from "./view.js";

/** log p at (x, y) of the bent Gaussian: x ~ N(0, std^2), y given x ~ N(bend (x^2 - std^2), 1). */
export function bananaLogProb([x, y], { std, bend }) {
  const z = y - bend * (x * x - std * std);
  return -0.5 * ((x / std) ** 2 + z * z) - Math.log(2 * Math.PI * std);
}

/** A Metropolis step from `point` with two normal numbers and one uniform; says whether it was accepted. */
export function metropolisStep(point, size, [first, second], u, banana) {
  const next = [point[0] + size * first, point[1] + size * second];
  const accepted = Math.log(u) < bananaLogProb(next, banana) - bananaLogProb(point, banana);
  return { point: accepted ? next : point, accepted };
}

/** x given y has no name: invert its distribution function on a grid, with one uniform number. */
export function drawFirst(y, u, banana, count = 801) {
  const reach = 6 * banana.std;
  const width = (2 * reach) / (count - 1);
  const sums = new Float64Array(count);
  let highest = -Infinity;
  for (let i = 0; i < count; i++) highest = Math.max(highest, bananaLogProb([i * width - reach, y], banana));
  let total = 0;
  for (let i = 0; i < count; i++) {
    total += Math.exp(bananaLogProb([i * width - reach, y], banana) - highest);
    sums[i] = total;
  }
  const wanted = u * total;
  const cell = sums.findIndex((sum) => sum >= wanted);
  const before = cell > 0 ? sums[cell - 1] : 0;
  return (cell - 0.5 + (wanted - before) / (sums[cell] - before)) * width - reach;
}

/** A Gibbs sweep: x given y, then y given the new x. */
export function gibbsSweep(point, noise, u, banana) {
  const x = drawFirst(point[1], u, banana);
  return [x, banana.bend * (x * x - banana.std ** 2) + noise];
}

/**
 * tau = 1 + 2 sum of autocorrelations, up to the first pair of lags whose sum is not positive. Too low for a chain that is
 * not long: one that has not met its slow parts takes them for fast. Hence LONG_ENOUGH.
 */
export function autocorrelationTime(values) {
  const n = values.length;
  let mean = 0;
  for (const value of values) mean += value / n;
  const covariance = (lag) => {
    let sum = 0;
    for (let i = lag; i < n; i++) sum += (values[i] - mean) * (values[i - lag] - mean);
    return sum / n;
  };
  const variance = covariance(0);
  if (!(variance > 0)) return n;
  let tau = -1;
  for (let lag = 0; lag + 1 < n; lag += 2) {
    const pair = (covariance(lag) + covariance(lag + 1)) / variance;
    if (pair <= 0) break;
    tau += 2 * pair;
  }
  return Math.max(tau, 1 / n);
}

export const LONG_ENOUGH = 100; // in tau; twice what the library asks for: 500 Gibbs sweeps pass 50 one time in four

/** What n correlated draws are worth, in words: a number only from a chain long enough to tell. */
export function worth(n, tau) {
  const ess = n / tau;
  if (ess >= LONG_ENOUGH) return `worth about ${Math.round(ess)} independent draws`;
  const seen = ess < 10 ? ess.toFixed(1) : Math.round(ess);
  return `too short to tell its worth: ${seen} autocorrelation times so far by its own estimate, ${LONG_ENOUGH} are needed`;
}

const SHOWN = 4000; // points that are drawn
const KEPT = 40000; // steps that are averaged over
const PAUSE = 1000; // steps between estimates while it plays: they are long sums
const START = [0, -2];

function render({ model, el }) {
  const figure = openFigure(model, el, "walkers");
  const { root, colours } = figure;
  const banana = { std: model.get("std"), bend: model.get("bend") };
  const extent = 4.5 * banana.std;
  const middle = 0.4 * extent;
  let seed = 1;
  let size = 1;
  let perSecond = 20;
  let owed = 0;
  let t;
  let uniform;
  let walkers;
  let crowd;

  function restart() {
    uniform = uniforms(seed);
    t = 0;
    owed = 0;
    walkers = ["Metropolis", "Gibbs"].map((name) => ({
      name,
      point: START,
      path: [START],
      second: [START[1]],
      accepted: 0,
      words: "",
    }));
    crowd = fillNormals(new Float64Array(2400), uniforms(1000));
    for (let i = 0; i < crowd.length; i += 2) {
      crowd[i] *= banana.std;
      crowd[i + 1] += banana.bend * (crowd[i] ** 2 - banana.std ** 2) - middle;
    }
    figure.redraw();
  }
  function step() {
    const normals = fillNormals(new Float64Array(4), uniform);
    const [walk, sweep] = walkers;
    const result = metropolisStep(walk.point, size, normals, uniform(), banana);
    walk.point = result.point;
    walk.accepted += result.accepted ? 1 : 0;
    sweep.point = gibbsSweep(sweep.point, normals[2], uniform(), banana);
    sweep.accepted += 1;
    for (const walker of walkers) {
      walker.path.push(walker.point);
      if (walker.path.length > SHOWN) walker.path.shift();
      walker.second.push(walker.point[1]);
      if (walker.second.length > KEPT) walker.second.shift();
    }
    t += 1;
  }
  function run(count) {
    for (let i = 0; i < count; i++) step();
    figure.redraw();
  }

  const panels = ["Metropolis: a step anywhere, or stay", "Gibbs: along one axis at a time"].map((title, k) => {
    const canvas = figure.canvas(`${title}: its path over faint exact draws of the banana`);
    const about = html("p", { class: "dpm-detail" });
    const head = html("p", { class: "dpm-title" }, title);
    return {
      canvas,
      about,
      node: html("div", { class: "dpm-walker" }, head, html("div", { class: "dpm-live" }, canvas), about),
      k,
    };
  });

  function report(walker, busy) {
    const values = walker.second;
    if (t < 20) return `Step ${t}.`;
    if (!busy || !walker.words || t - walker.at >= PAUSE) {
      walker.words = worth(values.length, autocorrelationTime(values));
      walker.at = t;
    }
    const mean = values.reduce((sum, y) => sum + y, 0) / values.length;
    const rate = Math.round((100 * walker.accepted) / t);
    const lost = t >= KEPT ? ` Of the last ${KEPT}:` : "";
    return `Step ${t}, accepted ${rate}%.${lost} mean of x₂ ${mean.toFixed(2)} (truth 0), ${walker.words}.`;
  }
  function drawWalker({ canvas, about, k }, busy) {
    const walker = walkers[k];
    const square = openSquare(canvas, extent, colours.panel);
    const { context, x, y, pixel } = square;
    drawPoints(square, crowd, crowd.length / 2, { colour: colours.data, size: 1.8, alpha: 0.35 });
    const flat = walker.path.flatMap(([a, b]) => [a, b - middle]);
    drawPoints(square, flat, walker.path.length, { colour: colours.model, size: 2, alpha: 0.55 });
    context.strokeStyle = colours.model;
    context.lineWidth = 1.3 * pixel;
    context.beginPath();
    const recent = walker.path.slice(-25);
    recent.forEach(([a, b], i) => {
      if (i === 0) return context.moveTo(x(a), y(b - middle));
      if (k === 1) context.lineTo(x(a), y(recent[i - 1][1] - middle)); // Gibbs moves along the axes
      return context.lineTo(x(a), y(b - middle));
    });
    context.stroke();
    context.fillStyle = colours.ink;
    context.beginPath();
    context.arc(x(walker.point[0]), y(walker.point[1] - middle), 4 * pixel, 0, 2 * Math.PI);
    context.fill();
    if (!busy || t % 10 === 0 || perSecond > 100) about.textContent = report(walker, busy);
  }
  figure.draw = () => {
    for (const panel of panels) drawWalker(panel, root.dataset.playing === "true");
    root.dataset.t = t;
    root.dataset.seed = seed;
    root.dataset.accepted = walkers[0].accepted;
  };

  const play = figure.playButton((seconds) => {
    owed += seconds * perSecond * (isCalm() ? 0.5 : 1);
    const count = Math.floor(owed);
    if (count === 0 && t > 0) return;
    owed -= count;
    run(Math.max(1, Math.min(count, 60)));
  });
  const stride = figure.slider({
    label: "Metropolis step size",
    min: -1.6,
    max: 1.2,
    step: 0.1,
    value: 0,
    format: (value) => (10 ** value).toPrecision(2),
    set: (value) => (size = 10 ** value),
    after: restart,
  });
  const pace = figure.chooser({
    label: "Steps a second",
    options: [
      ["5", "5"],
      ["20", "20"],
      ["1000", "1000"],
    ],
    value: "20",
    set: (value) => (perSecond = Number(value)),
  });
  figure.add(
    html("div", { class: "dpm-pair" }, ...panels.map((panel) => panel.node)),
    html(
      "div",
      { class: "dpm-controls" },
      play.button,
      button("Step", () => run(1)),
      button("500 steps", () => run(500)),
      button("New seed", () => (seed += 1), restart),
      pace.node,
    ),
    controls(stride),
  );
  restart();
  return figure.close;
}

export default live(render);
