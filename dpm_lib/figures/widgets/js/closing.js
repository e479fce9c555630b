// How many trajectories close the gap: the log of a mean of n weights, against log p and the delta method. Nats inside.

import { clamp, controls, html, openFigure, renew, uniforms } from "./common.js";
import { fixed, inBits, line, minus, openPlot, rect, scales, text } from "./plot.js";
import { coupledBits, S, weightLaw } from "./tiny.js";
import { live } from "./view.js";

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

  const spread = openPlot(figure, "", "Histogram of log mean w");
  const curve = openPlot(figure, "", "The gap to log p, by n, on logarithmic axes");
  const detail = html("p", { class: "dpm-detail dpm-now", role: "status" });
  function drawSpread() {
    const { bins } = tally[chosen];
    const top = Math.max(...bins);
    const ends = [exact.logP - reach(), exact.logP + 0.6 * reach()];
    const plot = scales(spread, { left: 0, right: 0, top: 18, bottom: 36 }, ends, [0, top]);
    const { width, height, floor, x } = plot;
    const step = [0.25, 0.5, 1, 2].find((s) => (1.6 * inBits(reach())) / s <= 7) ?? 4; // bits
    const marks = Array.from({ length: 17 }, (_, i) => (i - 8) * step).filter(
      (v) => v > -inBits(reach()) && v < 0.6 * inBits(reach()),
    );
    const mean = exact.logP - about(tally[chosen]).gap;
    renew(
      spread,
      ...Array.from(bins, (count, b) =>
        rect("dpm-bar", (b * width) / BINS, plot.y(count), width / BINS - 0.5, floor - plot.y(count)),
      ),
      plot.axis(),
      line(x(exact.logP), 0, x(exact.logP), floor, "dpm-limit-line dpm-ink-limit"),
      line(x(mean), 14, x(mean), floor, "dpm-line"),
      text(x(exact.logP) + 4, 11, "log p", "start"),
      text(x(mean) - 4, 24, "mean", "end"),
      ...marks.flatMap((v) => {
        const at = x(exact.logP + v * Math.LN2);
        return at < 14 || at > width - 14
          ? []
          : [line(at, floor, at, floor + 4, "dpm-axis"), text(at, floor + 16, minus(v))];
      }),
      text(width / 2, height - 4, `log (mean of ${NUMBERS[chosen]} weight${chosen ? "s" : ""} / p), bits`),
    );
  }
  function drawCurve() {
    const delta = (n) => inBits(exact.variance / (2 * n));
    const high = 1.5 * Math.max(inBits(exact.logP - exact.elbo), delta(1));
    const low = delta(256) / 3;
    const MARGINS = { left: 56, right: 12, top: 22, bottom: 38, foot: 20 };
    const plot = scales(curve, MARGINS, [0, NUMBERS.length - 1], [low, high], { log: "y", held: "y" });
    const whole = scales(curve, { ...MARGINS, left: 44, right: 0 }, [0, 1], [low, high], { log: "y" });
    const decades = [10, 1, 0.1, 0.01, 1e-3, 1e-4, 1e-5].filter((v) => v < high && v > low);
    const expected = plot.curve("dpm-law dpm-ink-limit", NUMBERS, (n, k) => [k, delta(n)]);
    expected.setAttribute("stroke-dasharray", "5 4");
    renew(
      curve,
      ...whole.rows(decades, String),
      text(0, 11, "gap to log p, bits", "start"),
      text((whole.left + whole.end) / 2, plot.height - 4, "trajectories n"),
      expected,
      ...tally.flatMap((mine, k) => {
        const { gap, error } = about(mine);
        const mark = k === chosen ? "dpm-exact-dot dpm-outside" : "dpm-exact-dot";
        const [from, to] = [gap - 2 * error, gap + 2 * error].map((v) => plot.y(Math.max(low, inBits(v))));
        return [
          line(plot.x(k), from, plot.x(k), to, "dpm-axis"),
          gap > 0 ? plot.dot(mark, k, inBits(gap), k === chosen ? 6 : 4) : "",
        ];
      }),
      ...plot.marks([...NUMBERS.keys()], (k) => NUMBERS[k]),
    );
  }
  figure.draw = () => {
    drawSpread();
    drawCurve();
    const n = NUMBERS[chosen];
    const { gap, error } = about(tally[chosen]);
    detail.textContent =
      `n = ${n}, ${tally[chosen].runs} runs: the mean is ${fixed(inBits(gap), 4)} ± ${fixed(inBits(error), 4)} bits below log p = ${fixed(inBits(exact.logP))}; ` +
      `by the delta method ${fixed(inBits(exact.variance / (2 * n)), 4)}. One weight has standard deviation ${fixed(Math.sqrt(exact.variance), 2)} of its mean.`;
    Object.assign(figure.root.dataset, { n, runs: tally[chosen].runs, gap: inBits(gap) });
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
  figure.add(html("div", { class: "dpm-two" }, spread, curve), controls(play, number, places, error), detail);
  reset();
  return figure.close;
}

export default live(render);
