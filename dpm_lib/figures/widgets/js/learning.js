// A schedule while it is learned: beta_t, what each step costs or loses, and K, over the steps of training.

import { controls, html, isCalm, openFigure, renew, title } from "./common.js";
import { fixed, minus, openPlot, scales, short, text } from "./plot.js";
import { live } from "./view.js";

const MARGINS = { left: 58, right: 10, top: 12, bottom: 20, gap: 6, foot: 5 };

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

  const curve = openPlot(figure, "dpm-levels", "beta by step, now and at the start of training");
  const bars = openPlot(figure, "dpm-losses", "bits of each step");
  const course = openPlot(figure, "dpm-course", "K over the steps of training");
  const detail = html("p", { class: "dpm-detail" });
  const barTitle = html("p", { class: "dpm-title" });

  function timeAxis(plot) {
    const every = [1, 2, 5, 10, 20, 50].find((step) => run.T / step <= 10) ?? run.T;
    const times = Array.from({ length: run.T }, (_, i) => i + 1);
    const marks = times.filter((t) => t === 1 || (t % every === 0 && plot.x(t) - plot.x(1) > 36));
    return [plot.axis(), ...plot.marks(marks, (t) => (t === 1 ? "t = 1" : t))];
  }

  function drawCurve() {
    const logs = (k) => run.beta[k].map((b) => Math.log10(Math.max(b, 1e-9)));
    const low = Math.floor(Math.min(...run.beta.flatMap((_, k) => logs(k))));
    const plot = scales(curve, MARGINS, [0.5, run.T + 0.5], [low, 0]);
    const decades = Array.from({ length: -low + 1 }, (_, k) => -k).filter((k) => low > -5 || k % 2 === 0);
    renew(
      curve,
      ...plot.rows(decades, (k) => (k === 0 ? "1" : minus(`1e${k}`))),
      ...timeAxis(plot),
      plot.curve("dpm-ghost", logs(0), (b, i) => [i + 1, b]),
      plot.curve("dpm-line", logs(frame), (b, i) => [i + 1, b]),
    );
  }
  function drawBars() {
    const values = run.frames[frame][what];
    const start = run.frames[0][what];
    const top = 1.05 * Math.max(...start, ...run.frames.at(-1)[what], 1e-6);
    const plot = scales(bars, MARGINS, [0.5, run.T + 0.5], [0, top], { held: "y" });
    renew(
      bars,
      ...plot.rows([0, 0.5 * top, top], short),
      ...timeAxis(plot),
      ...values.map((v, i) => plot.bar("dpm-bar", i + 1.6, i + 2.4, v)),
      plot.curve("dpm-ghost", start, (v, i) => [i + 2, v]),
    );
    const words = what === "kl_bits" ? "KL of each step, bits" : "What each step loses, bits";
    renew(barTitle, words, html("span", { class: "dpm-unit" }, " (dashed: at the start)"));
  }
  function drawCourse() {
    const last = Math.sqrt(run.frames.at(-1).step); // the axis goes by square roots
    const from = run.limit - 3 * (run.limit - run.frames[0].best_bits);
    const plot = scales(course, MARGINS, [0, last], [from, run.limit], { held: "y" });
    const path = (kind, key) => plot.curve(kind, run.frames, (f) => [Math.sqrt(f.step), f[key]]);
    const here = run.frames[frame];
    const now = Math.sqrt(here.step);
    const ticks = [0, 0.1, 0.25, 0.5, 1].map((part) => Math.round(part * last ** 2));
    renew(
      course,
      plot.across(run.limit, "dpm-ceiling"),
      text(plot.left - 6, plot.top + 4, fixed(run.limit, 2), "end"),
      text(plot.left - 6, plot.floor, fixed(from, 2), "end"),
      ...plot.marks(
        ticks.map(Math.sqrt),
        (v) => Math.round(v * v),
        (v) => (v === last ? "end" : "middle"),
      ),
      plot.upright(now, "dpm-now-line"),
      path("dpm-best", "best_bits"),
      path("dpm-ours", "model_bits"),
      plot.dot("dpm-here", now, here.model_bits, 4),
    );
  }
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
    Object.assign(root.dataset, { frame, t: frame, step: here.step, best: here.best_bits });
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
  figure.onChange("runs", () => {
    read();
    open();
    figure.redraw();
  });
  return figure.close;
}

export default live(render);
