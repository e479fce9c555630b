// How many trajectories close the gap: the log of a mean of n weights, against log p and the delta method. Nats inside.

import { clamp, controls, html, openFigure, svg, uniforms } from "./common.js";
import { coupledBits, S, weightLaw } from "./tiny.js";

const NUMBERS = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const RUNS = 40; // of every n, at each frame
const FIRST = 10; // frames' worth at the start

/** Of the weights from one start: E log w, log p, and Var(w) / p^2. */
export function moments({ w, q, p }) {
  let [elbo, square] = [0, 0];
  w.forEach((weight, i) => {
    elbo += q[i] * Math.log(weight);
    square += q[i] * (weight / p - 1) ** 2;
  });
  return { elbo, logP: Math.log(p), variance: square };
}

/** A function that draws a weight: by the inverse of the running sum of q. */
export function drawer({ w, q }, uniform) {
  const ladder = Float64Array.from(q);
  for (let i = 1; i < ladder.length; i++) ladder[i] += ladder[i - 1];
  const top = ladder.at(-1);
  return () => {
    const u = uniform() * top;
    let [low, high] = [0, ladder.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ladder[middle] > u) high = middle;
      else low = middle + 1;
    }
    return w[low];
  };
}

/** The mean of n weights, `runs` times over. */
export function means(draw, n, runs) {
  return Float64Array.from({ length: runs }, () => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += draw();
    return sum / n;
  });
}

/** How far log(mean) is below log p, plus what is 0 in the mean: mean / p - 1. The error is far smaller so. */
export const shortfall = (mean, p) => Math.log(p / mean) + mean / p - 1;

const bits = (nats) => nats / Math.LN2;
const fixed = (value, digits = 3) => value.toFixed(digits).replace("-", "−");

function render({ model, el }) {
  const figure = openFigure(model, el, "closing");
  const settings = structuredClone(model.get("settings"));
  const BINS = 60;
  let chosen = 0;
  let start = 0;
  let law;
  let exact;
  let draw;
  let tally;

  function reset() {
    law = weightLaw(coupledBits(settings), start);
    exact = moments(law);
    draw = drawer(law, uniforms(start + 1));
    tally = NUMBERS.map(() => ({ runs: 0, sum: 0, square: 0, bins: new Float64Array(BINS) }));
    for (let i = 0; i < FIRST; i++) gather();
  }
  const reach = () => 4 * Math.min(2, Math.max(0.3, Math.sqrt(exact.variance)));
  const binOf = (value) => Math.floor(((value - exact.logP + reach()) / (1.6 * reach())) * BINS);
  function gather() {
    NUMBERS.forEach((n, k) => {
      const mine = tally[k];
      for (const mean of means(draw, n, RUNS)) {
        const gap = shortfall(mean, law.p);
        mine.runs += 1;
        mine.sum += gap;
        mine.square += gap * gap;
        mine.bins[clamp(binOf(Math.log(mean)), 0, BINS - 1)] += 1;
      }
    });
    figure.redraw();
  }
  const about = ({ runs, sum, square }) => ({
    gap: sum / runs,
    error: Math.sqrt(Math.max(0, square / runs - (sum / runs) ** 2) / runs),
  });

  const spread = svg("svg", { class: "dpm-plot", role: "img", "aria-label": "Histogram of log mean w" });
  const curve = svg("svg", {
    class: "dpm-plot",
    role: "img",
    "aria-label": "The gap to log p, by n, on logarithmic axes",
  });
  const detail = html("p", { class: "dpm-detail dpm-now", role: "status" });
  const text = (x, y, words, anchor = "middle", kind = null) =>
    svg("text", { x, y, "text-anchor": anchor, class: kind }, words);
  const line = (x1, y1, x2, y2, kind) => svg("line", { x1, y1, x2, y2, class: kind });

  function drawSpread() {
    const [width, height] = [spread.clientWidth || 300, spread.clientHeight || 170];
    const { bins, runs } = tally[chosen];
    const top = Math.max(...bins);
    const x = (value) => ((value - exact.logP + reach()) / (1.6 * reach())) * width;
    const floor = height - 36;
    const step = [0.25, 0.5, 1, 2].find((s) => (1.6 * bits(reach())) / s <= 7) ?? 4; // bits
    const marks = Array.from({ length: 17 }, (_, i) => (i - 8) * step).filter(
      (v) => v > -bits(reach()) && v < 0.6 * bits(reach()),
    );
    const mean = exact.logP - about(tally[chosen]).gap;
    spread.replaceChildren(
      ...Array.from(bins, (count, b) =>
        svg("rect", {
          x: (b * width) / BINS,
          width: width / BINS - 0.5,
          y: floor - (count / top) * (floor - 18),
          height: (count / top) * (floor - 18),
          class: "dpm-bar",
        }),
      ),
      line(0, floor, width, floor, "dpm-axis"),
      svg("line", { x1: x(exact.logP), x2: x(exact.logP), y1: 0, y2: floor, class: "dpm-limit-line dpm-ink-limit" }),
      line(x(mean), 14, x(mean), floor, "dpm-line"),
      text(x(exact.logP) + 4, 11, "log p", "start"),
      text(x(mean) - 4, 24, "mean", "end"),
      ...marks.flatMap((v) => {
        const at = x(exact.logP + v * Math.LN2);
        return at < 14 || at > width - 14
          ? []
          : [line(at, floor, at, floor + 4, "dpm-axis"), text(at, floor + 16, String(v).replace("-", "−"))];
      }),
      text(
        width / 2,
        height - 4,
        `log of the mean of ${NUMBERS[chosen]} weight${chosen ? "s" : ""}, less log p, bits; ${runs} runs`,
      ),
    );
  }
  function drawCurve() {
    const [width, height] = [curve.clientWidth || 300, curve.clientHeight || 170];
    const LEFT = 44;
    const delta = (n) => bits(exact.variance / (2 * n));
    const high = 1.5 * Math.max(bits(exact.logP - exact.elbo), delta(1));
    const low = delta(256) / 3;
    const x = (k) => LEFT + 12 + (k / (NUMBERS.length - 1)) * (width - LEFT - 24);
    const y = (gap) => 22 + (Math.log(high / clamp(gap, low, high)) / Math.log(high / low)) * (height - 60);
    const decades = [10, 1, 0.1, 0.01, 1e-3, 1e-4, 1e-5].filter((v) => v < high && v > low);
    curve.replaceChildren(
      ...decades.flatMap((v) => [
        line(LEFT, y(v), width, y(v), "dpm-grid"),
        text(LEFT - 5, y(v) + 4, String(v), "end"),
      ]),
      text(0, 11, "gap to log p, bits", "start"),
      text((LEFT + width) / 2, height - 4, "trajectories n"),
      svg("polyline", {
        points: NUMBERS.map((n, k) => `${x(k)},${y(delta(n))}`).join(" "),
        class: "dpm-law dpm-ink-limit",
        "stroke-dasharray": "5 4",
      }),
      ...NUMBERS.flatMap((n, k) => {
        const { gap, error } = about(tally[k]);
        const mark = k === chosen ? "dpm-exact-dot dpm-outside" : "dpm-exact-dot";
        return [
          line(x(k), y(bits(Math.max(low, gap - 2 * error))), x(k), y(bits(gap + 2 * error)), "dpm-axis"),
          ...(gap > 0 ? [svg("circle", { cx: x(k), cy: y(bits(gap)), r: k === chosen ? 6 : 4, class: mark })] : []),
          text(x(k), height - 20, String(n)),
        ];
      }),
    );
  }
  figure.draw = () => {
    drawSpread();
    drawCurve();
    const n = NUMBERS[chosen];
    const { gap, error } = about(tally[chosen]);
    detail.textContent =
      `n = ${n}: the mean is ${fixed(bits(gap), 4)} ± ${fixed(bits(error), 4)} bits below log p = ${fixed(bits(exact.logP))}; ` +
      `by the delta method ${fixed(bits(exact.variance / (2 * n)), 4)}. One weight has standard deviation ${fixed(Math.sqrt(exact.variance), 2)} of its mean.`;
    figure.root.dataset.n = n;
    figure.root.dataset.runs = tally[chosen].runs;
    figure.root.dataset.gap = bits(gap);
  };

  const play = figure.playButton(gather);
  const number = figure.slider({
    label: "Trajectories n",
    min: 0,
    max: NUMBERS.length - 1,
    value: chosen,
    format: (k) => String(NUMBERS[k]),
    set: (k) => (chosen = k),
  });
  const places = figure.slider({
    label: "Start x₀",
    min: 0,
    max: S - 1,
    value: start,
    format: (v) => v.toString(2).padStart(3, "0"),
    set: (v) => (start = v),
    after: reset,
  });
  const error = figure.slider({
    label: "Error of the reverse steps",
    min: 0,
    max: 1,
    step: 0.05,
    value: settings.error,
    format: (v) => v.toFixed(2),
    set: (v) => (settings.error = v),
    after: reset,
  });
  figure.add(html("div", { class: "dpm-pair-wide" }, spread, curve), controls(play, number, places, error), detail);
  figure.onResize(spread);
  figure.onResize(curve);
  reset();
  return figure.close;
}

export default { render };
