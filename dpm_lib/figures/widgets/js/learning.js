// A schedule while it is learned: beta_t, what each step costs or loses, and K, over the steps of training.

import { clamp, controls, html, isCalm, openFigure, svg, title } from "./common.js";

const LEFT = 58;
const RIGHT = 10;
const TOP = 12;
const BOTTOM = 20;

/** beta_1, ..., beta_T from log tau_1, ..., log tau_T: (tau_t - tau_{t-1}) / (1 + tau_t). */
export function betas(logTau) {
  const tau = logTau.map(Math.exp);
  return tau.map((now, i) => (i === 0 ? now / (1 + now) : -Math.expm1(logTau[i - 1] - logTau[i]) / (1 + 1 / now)));
}

/** Where the slider stands while it plays: frames are evenly spaced in time, the last one is held. */
export const nextFrame = (place, seconds, count) => (place >= count - 1 + 2 ? 0 : place + seconds * 4);

function render({ model, el }) {
  const figure = openFigure(model, el, "learning");
  const { root } = figure;
  let runs;
  let name;
  let run;
  let frame = 0;
  let what = "loss_bits";

  const read = () => {
    runs = model.get("runs");
    name = Object.keys(runs)[0];
  };
  const open = () => {
    run = runs[name];
    run.beta = run.frames.map((f) => betas(f.log_tau));
    frame = Math.min(frame, run.frames.length - 1);
  };

  const plot = (kind, label) => svg("svg", { class: `dpm-plot ${kind}`, role: "img", "aria-label": label });
  const curve = plot("dpm-levels", "beta by step, now and at the start of training");
  const bars = plot("dpm-losses", "bits of each step");
  const course = plot("dpm-course", "K over the steps of training");
  const detail = html("p", { class: "dpm-detail" });
  const barTitle = html("p", { class: "dpm-title" });

  const text = (x, y, words, anchor = "end") => svg("text", { x, y, "text-anchor": anchor }, words);
  const line = (x1, y1, x2, y2, kind) => svg("line", { x1, y1, x2, y2, class: kind });
  const sizeOf = (node) => ({ width: node.clientWidth || 600, height: node.clientHeight || 150 });
  const joined = (points) => points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");

  function timeAxis({ width, height }, T) {
    const every = [1, 2, 5, 10, 20, 50].find((step) => T / step <= 10) ?? T;
    const x = (t) => LEFT + ((width - LEFT - RIGHT) * (t - 0.5)) / T;
    const marks = Array.from({ length: T }, (_, i) => i + 1).filter(
      (t) => t === 1 || (t % every === 0 && x(t) - x(1) > 36),
    );
    const labels = marks.map((t) => text(x(t), height - 5, t === 1 ? "t = 1" : t, "middle"));
    return { x, nodes: [line(LEFT, height - BOTTOM, width - RIGHT, height - BOTTOM, "dpm-axis"), ...labels] };
  }

  function drawCurve() {
    const size = sizeOf(curve);
    const low = Math.floor(Math.min(...run.beta.flat().map((b) => Math.log10(Math.max(b, 1e-9)))));
    const y = (b) => TOP + ((size.height - TOP - BOTTOM) * Math.log10(Math.max(b, 1e-9))) / low;
    const { x, nodes } = timeAxis(size, run.T);
    const decades = Array.from({ length: -low + 1 }, (_, k) => -k).filter((k) => low > -5 || k % 2 === 0);
    const path = (values) => joined(values.map((b, i) => [x(i + 1), y(b)]));
    curve.replaceChildren(
      ...decades.flatMap((k) => [
        line(LEFT, y(10 ** k), size.width - RIGHT, y(10 ** k), "dpm-grid"),
        text(LEFT - 6, y(10 ** k) + 4, k === 0 ? "1" : `1e${k}`.replace("-", "−")),
      ]),
      ...nodes,
      svg("polyline", { points: path(run.beta[0]), class: "dpm-ghost" }),
      svg("polyline", { points: path(run.beta[frame]), class: "dpm-line" }),
    );
  }
  function drawBars() {
    const size = sizeOf(bars);
    const values = run.frames[frame][what];
    const start = run.frames[0][what];
    const top = 1.05 * Math.max(...start, ...run.frames.at(-1)[what], 1e-6);
    const y = (v) => size.height - BOTTOM - (size.height - TOP - BOTTOM) * clamp(v / top, 0, 1);
    const { x, nodes } = timeAxis(size, run.T);
    const width = (0.8 * (size.width - LEFT - RIGHT)) / run.T;
    bars.replaceChildren(
      ...[0, 0.5, 1].flatMap((part) => [
        line(LEFT, y(part * top), size.width - RIGHT, y(part * top), "dpm-grid"),
        text(LEFT - 6, y(part * top) + 4, Number((part * top).toPrecision(2))),
      ]),
      ...nodes,
      ...values.map((v, i) =>
        svg("rect", { x: x(i + 2) - width / 2, y: y(v), width, height: size.height - BOTTOM - y(v), class: "dpm-bar" }),
      ),
      svg("polyline", { points: joined(start.map((v, i) => [x(i + 2), y(v)])), class: "dpm-ghost" }),
    );
    const title = what === "kl_bits" ? "KL of each step, bits" : "What each step loses, bits";
    barTitle.replaceChildren(title, html("span", { class: "dpm-unit" }, " (dashed: at the start)"));
  }
  function drawCourse() {
    const size = sizeOf(course);
    const last = run.frames.at(-1).step;
    const from = run.limit - 3 * (run.limit - run.frames[0].best_bits);
    const x = (step) => LEFT + (size.width - LEFT - RIGHT) * Math.sqrt(step / last);
    const y = (K) => TOP + (size.height - TOP - BOTTOM) * clamp((run.limit - K) / (run.limit - from), 0, 1);
    const path = (key) => joined(run.frames.map((f) => [x(f.step), y(f[key])]));
    const here = run.frames[frame];
    const ticks = [0, 0.1, 0.25, 0.5, 1].map((part) => Math.round(part * last));
    course.replaceChildren(
      line(LEFT, y(run.limit), size.width - RIGHT, y(run.limit), "dpm-ceiling"),
      text(LEFT - 6, y(run.limit) + 4, run.limit.toFixed(2).replace("-", "−")),
      text(LEFT - 6, size.height - BOTTOM, from.toFixed(2).replace("-", "−")),
      ...ticks.map((step) => text(x(step), size.height - 5, step, step === last ? "end" : "middle")),
      line(x(here.step), TOP, x(here.step), size.height - BOTTOM, "dpm-now-line"),
      svg("polyline", { points: path("best_bits"), class: "dpm-best" }),
      svg("polyline", { points: path("model_bits"), class: "dpm-ours" }),
      svg("circle", { cx: x(here.step), cy: y(here.model_bits), r: 4, class: "dpm-here" }),
    );
  }
  const fixed = (value, digits = 3) => value.toFixed(digits).replace("-", "−");
  figure.draw = () => {
    drawCurve();
    drawBars();
    drawCourse();
    const here = run.frames[frame];
    const lost = here.loss_bits.reduce((sum, v) => sum + v, 0);
    detail.textContent =
      `After ${here.step} steps of training: K = ${fixed(here.model_bits)} bits; the best any network could do with ` +
      `this schedule is ${fixed(here.best_bits)}; −H(X₀) = ${fixed(run.limit)}. The steps lose ${fixed(lost)} bits, ` +
      `the worst of them ${fixed(Math.max(...here.loss_bits), 4)}.`;
    root.dataset.frame = root.dataset.t = frame;
    root.dataset.step = here.step;
    root.dataset.best = here.best_bits;
  };

  read();
  open();
  const progress = figure.slider({
    wide: true,
    label: "Training",
    min: 0,
    max: run.frames.length - 1,
    value: 0,
    format: (k) => `${run.frames[k].step} of ${run.frames.at(-1).step} steps`,
    set: (k) => {
      frame = k;
      place = k;
    },
  });
  let place = 0;
  const play = figure.playButton((seconds) => {
    place = nextFrame(place, seconds / (isCalm() ? 2 : 1), run.frames.length);
    frame = Math.min(Math.floor(place), run.frames.length - 1);
    progress.set(frame);
    figure.redraw();
  });
  const which = figure.chooser({
    label: "Model",
    options: Object.keys(runs),
    value: name,
    set: (value) => {
      name = value;
      open();
      progress.range.max = run.frames.length - 1;
      progress.set(frame);
    },
  });
  const shown = figure.chooser({
    label: "Bars",
    options: [
      ["loss_bits", "loss"],
      ["kl_bits", "KL"],
    ],
    value: what,
    set: (value) => (what = value),
  });
  figure.add(
    controls(play, progress),
    controls(which, shown),
    html(
      "p",
      { class: "dpm-title" },
      "Schedule β",
      html("sub", {}, "t"),
      html("span", { class: "dpm-unit" }, " (dashed: at the start)"),
    ),
    curve,
    barTitle,
    bars,
    title("K in bits, over training", " orange: the model; purple: the best network for the schedule"),
    course,
    detail,
  );
  figure.onResize(curve);
  figure.onChange("runs", () => {
    read();
    open();
    figure.redraw();
  });
  return figure.close;
}

export default { render };
