// The law that a multiplied reverse chain makes, on a line, as a density: no sampling. Twin of posteriors.law_on_grid.

import { controls, html, keys, openFigure, renew, title } from "./common.js";
import { line, minus, openPlot, scales } from "./plot.js";
import { totalVariation } from "./probability.js";
import { live } from "./view.js";

export const REACH = 4.5,
  POINTS = 181,
  TOTAL = 8,
  STEPS = [10, 20, 50, 100, 200, 400];
const MARGINS = { left: 40, right: 12, top: 8, bottom: 20, foot: 5 };
const TWISTS = ["constant", "annealed", "plugin"];

// --- Numbers. A target is { means, weights, variance }; r(x) = exp(-(x - y)^2 / 2 s), s its variance. ---

export const TARGETS = {
  "a normal": { means: [0], weights: [1], variance: 1 },
  "two clumps": { means: [-1, 1], weights: [0.5, 0.5], variance: 0.1 },
};

export const grid = () => Float64Array.from({ length: POINTS }, (_, i) => -REACH + (2 * REACH * i) / (POINTS - 1));

/** For T equal steps beta = TOTAL / T: tau_t, t = 0..T. */
export function evenLevels(T) {
  const log = Math.log1p(-TOTAL / T);
  return Float64Array.from({ length: T + 1 }, (_, t) => Math.expm1(-t * log));
}

/** Weights, means and variance of x_0 given x_t = x: a Gaussian for each part. */
export function startOf(x, tau, { means, weights, variance }) {
  const alpha = 1 / (1 + tau);
  const noise = tau / (1 + tau);
  const root = Math.sqrt(alpha);
  const spread = alpha * variance + noise;
  const share = means.map((m, k) => weights[k] * Math.exp(-((x - root * m) ** 2) / (2 * spread)));
  const total = share.reduce((a, b) => a + b, 0) || 1e-300;
  return {
    share: share.map((v) => v / total),
    means: means.map((m) => m + ((variance * root) / spread) * (x - root * m)),
    variance: (variance * noise) / spread,
  };
}

/** log psi_t on the grid: r itself, r^(1 - t/T), or r at E[x_0 | x_t]. */
export function logTwist(kind, x, t, tau, target, { y, s }) {
  const log = (v, power = 1) => (-power * (v - y) ** 2) / (2 * s);
  const T = tau.length - 1;
  if (kind === "constant" || t === 0) return x.map((v) => log(v));
  if (kind === "annealed") return x.map((v) => log(v, 1 - t / T));
  return x.map((v) => {
    const { share, means } = startOf(v, tau[t], target);
    return log(share.reduce((sum, w, k) => sum + w * means[k], 0));
  });
}

function normalised(p, h) {
  const total = p.reduce((a, b) => a + b, 0) * h;
  return p.map((v) => v / total);
}

/** The density of x_0 that the chain makes. */
export function chainLaw(kind, T, target, r) {
  const x = grid();
  const n = x.length;
  const h = x[1] - x[0];
  const tau = evenLevels(T);
  const first = logTwist(kind, x, T, tau, target, r);
  let p = normalised(
    x.map((v, i) => Math.exp(first[i] - (v * v) / 2)),
    h,
  );
  for (let t = T; t > 0; t--) {
    const log = logTwist(kind, x, t - 1, tau, target, r);
    const top = Math.max(...log);
    const psi = log.map((v) => Math.exp(v - top));
    const ratio = tau[t - 1] / tau[t];
    const root = Math.sqrt(1 / (1 + tau[t - 1]));
    const from = ratio * root * Math.sqrt(1 + tau[t]);
    const to = root * (1 - ratio);
    const next = new Float64Array(n);
    const row = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      if (p[i] < 1e-14) continue;
      const start = startOf(x[i], tau[t], target);
      const variance = (tau[t - 1] * (1 - ratio)) / (1 + tau[t - 1]) + to * to * start.variance;
      row.fill(0);
      let low = n;
      let high = 0;
      let total = 0;
      for (let k = 0; k < start.means.length; k++) {
        if (start.share[k] < 1e-13) continue;
        const mean = from * x[i] + to * start.means[k];
        const reach = 8 * Math.sqrt(variance);
        const a = Math.max(0, Math.ceil((mean - reach - x[0]) / h));
        const b = Math.min(n - 1, Math.floor((mean + reach - x[0]) / h));
        for (let j = a; j <= b; j++) row[j] += start.share[k] * Math.exp(-((x[j] - mean) ** 2) / (2 * variance));
        low = Math.min(low, a);
        high = Math.max(high, b);
      }
      for (let j = low; j <= high; j++) total += row[j] *= psi[j];
      if (total > 0) for (let j = low; j <= high; j++) next[j] += (p[i] * row[j]) / total;
    }
    p = normalised(next, h);
  }
  return p;
}

/** p r^power, normalised on the grid: the exact posterior for power 1. */
export function product(target, { y, s }, power = 1) {
  const x = grid();
  const p = x.map((v) =>
    target.means.reduce((sum, m, k) => sum + target.weights[k] * Math.exp(-((v - m) ** 2) / (2 * target.variance)), 0),
  );
  return normalised(
    p.map((v, i) => v * Math.exp((-power * (x[i] - y) ** 2) / (2 * s))),
    x[1] - x[0],
  );
}

export const distance = (p, q) => (totalVariation(p, q) * (2 * REACH)) / (POINTS - 1);

// --- The figure. ---

function render({ model, el }) {
  const figure = openFigure(model, el, "bias");
  const label = "Densities: the exact posterior, p r squared, and what the chain makes";
  const laws = openPlot(figure, "dpm-laws", label);
  const about = "Total variation from the exact posterior against the number of steps";
  const curves = openPlot(figure, "dpm-distances", about);
  const words = html("p", { class: "dpm-detail" });
  const x = grid();
  let name = "a normal";
  let kind = "constant";
  let r = { y: 1, s: 0.5 };
  let place = STEPS.indexOf(100);
  let found;
  let exact;
  let square;
  let plain;
  let queue = 0;

  function restart() {
    const target = TARGETS[name];
    [exact, square, plain] = [product(target, r), product(target, r, 2), product(target, r, 0)];
    found = Object.fromEntries(TWISTS.map((twist) => [twist, new Map()]));
    figure.root.dataset.ready = 0;
    resume();
  }
  function resume() {
    queue ||= requestAnimationFrame(work);
    figure.redraw();
  }
  function missing() {
    const order = [[kind, STEPS[place]], ...STEPS.flatMap((T) => TWISTS.map((twist) => [twist, T]))];
    return order.find(([twist, T]) => !found[twist].has(T));
  }
  function work() {
    // one law after another, in the frames that are free
    queue = 0;
    const until = performance.now() + 12;
    let next;
    while ((next = missing()) && performance.now() < until) {
      const law = chainLaw(next[0], next[1], TARGETS[name], r);
      found[next[0]].set(next[1], { law, far: distance(law, exact) });
    }
    figure.redraw();
    if (missing()) queue = requestAnimationFrame(work);
  }
  function drawLaws(here) {
    const top = 1.08 * Math.max(...exact, ...square, ...plain);
    const plot = scales(laws, MARGINS, [-REACH, REACH], [0, top]);
    const show = (kind, p) => plot.curve(`dpm-curve-${kind}`, p, (v, i) => [x[i], v]);
    renew(
      laws,
      plot.axis(),
      ...plot.marks([-4, -2, 0, 2, 4]),
      show("model", plain),
      show("square", square),
      show("exact", exact),
      ...(here ? [show(kind, here.law)] : []),
    );
  }
  function drawDistances() {
    const limit = distance(square, exact);
    const far = TWISTS.map((twist) =>
      STEPS.map((T) => [T, found[twist].get(T)?.far]).filter(([, v]) => v !== undefined),
    );
    const top = 1.15 * Math.max(0.05, limit, ...far.flat().map(([, v]) => v));
    const inner = { ...MARGINS, left: MARGINS.left + 10, right: MARGINS.right + 10 };
    const plot = scales(curves, inner, [STEPS[0], STEPS.at(-1)], [0, top], { log: "x" });
    const whole = scales(curves, MARGINS, [0, 1], [0, top]);
    renew(
      curves,
      ...whole.rows([0, 0.5 * top, top], (v) => v.toFixed(2)),
      ...plot.marks(STEPS),
      whole.across(limit, "dpm-curve-square"),
      line(plot.x(STEPS[place]), 6, plot.x(STEPS[place]), plot.floor, "dpm-here"),
      ...far.map((points, k) => plot.curve(`dpm-curve-${TWISTS[k]}`, points)),
      ...far.flatMap((points, k) => points.map(([T, v]) => plot.dot(`dpm-dots-${TWISTS[k]}`, T, v, 3.5))),
    );
  }
  figure.draw = () => {
    const here = found[kind].get(STEPS[place]);
    drawLaws(here);
    drawDistances();
    const mean = (p) => minus((p.reduce((sum, v, i) => sum + v * x[i], 0) * (x[1] - x[0])).toFixed(3));
    words.textContent = here
      ? `T = ${STEPS[place]}: total variation ${here.far.toFixed(3)}; mean ${mean(here.law)}, exact ${mean(exact)}, of p r² ${mean(square)}. ` +
        `The exact twist has total variation 0 at every T.`
      : `T = ${STEPS[place]}: computing.`;
    const ready = missing() ? 0 : 1;
    Object.assign(figure.root.dataset, { steps: STEPS[place], kind, far: here ? here.far : "", ready });
  };
  const steps = figure.slider({
    label: "Steps T",
    min: 0,
    max: STEPS.length - 1,
    value: place,
    format: (v) => String(STEPS[v]),
    set: (v) => (place = v),
    after: resume,
  });
  const data = figure.chooser({
    label: "Data",
    options: Object.keys(TARGETS),
    value: name,
    set: (v) => (name = v),
    after: restart,
  });
  const which = figure.chooser({
    label: "Twist",
    options: [
      ["constant", "constant: r"],
      ["annealed", "annealed: r to the power 1 − t/T"],
      ["plugin", "plug-in: r at the posterior mean"],
    ],
    value: kind,
    set: (v) => (kind = v),
    after: resume,
  });
  const look = figure.slider({
    label: "r sits at",
    min: -2,
    max: 2,
    step: 0.1,
    value: r.y,
    format: (v) => minus(v.toFixed(1)),
    set: (v) => (r = { ...r, y: v }),
    after: restart,
  });
  const wide = figure.slider({
    label: "its variance",
    min: 0.1,
    max: 2,
    step: 0.1,
    value: r.s,
    format: (v) => v.toFixed(1),
    set: (v) => (r = { ...r, s: v }),
    after: restart,
  });
  figure.add(
    controls(steps, data, which),
    controls(look, wide),
    laws,
    keys({ limit: "exact p r", muted: "dashed: p r²; pale: p", model: "constant", drift: "annealed", data: "plug-in" }),
    title("Total variation from p r, by the number of steps"),
    curves,
    words,
  );
  restart();
  const { close } = figure;
  figure.close = () => {
    cancelAnimationFrame(queue);
    close();
  };
  return figure.close;
}

export default live(render);
