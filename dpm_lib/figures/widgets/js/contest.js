// Several models in training, side by side: their samples at shares of one budget, and the energy distance of each.

import { controls, drawPoints, fixedPoint, html, isCalm, openFigure, openSquare, renew, title } from "./common.js";
import { line, openPlot, scales, text } from "./plot.js";
import { live } from "./view.js";

const INKS = ["limit", "data", "drift", "model"];
const EXTENT = 2.6;

/** Where the frame of `model`, `seed`, `frame` starts in the points: after the target's, in numbers. */
export const startOf = ({ target, seeds, n, shares }, model, seed, frame) =>
  2 * (target + ((model * seeds + seed) * shares.length + frame) * n);

/** Where the slider stands while it plays: one frame a beat, the last held for two. */
export const turn = (place, seconds, count) => (place >= count + 1 ? 0 : place + seconds * 1.4);

const named = (score, floor) =>
  (Math.abs(score) < 0.0005 ? score.toFixed(4) : score.toPrecision(2)).replace("-", "−") +
  (score < floor ? " (noise)" : "");
const percent = (share) => `${Number((100 * share).toPrecision(2))}%`;

function render({ model, el }) {
  const figure = openFigure(model, el, "contest");
  const about = model.get("about");
  const points = fixedPoint(model.get("points"), about.scale);
  const { names, shares, scores, floor } = about;
  let seed = 0;
  let frame = shares.length - 1;
  let place = frame;
  let truth = false;

  const panes = names.map((name, i) => {
    const canvas = figure.canvas(`Samples of the ${name}`);
    canvas.classList.add("dpm-live");
    const detail = html("p", { class: "dpm-detail" });
    return {
      canvas,
      detail,
      node: html("div", { class: `dpm-ink-${INKS[i % 4]}` }, html("p", { class: "dpm-title" }, name), canvas, detail),
    };
  });
  const axes = "on logarithmic axes, one line for each model and seed";
  const race = openPlot(figure, "dpm-race", `Energy distance against the share of the budget, ${axes}`);

  function drawRace() {
    const [low, high] = [floor / 2, 1.3 * Math.max(...scores.flat(2))];
    const margins = { left: 58, right: 12, top: 8, bottom: 34, foot: 18 };
    const plot = scales(race, margins, [shares[0], 1], [low, high], { log: "xy", held: "y" });
    const whole = scales(race, { ...margins, left: 52, right: 0 }, [0, 1], [low, high], { log: "y" });
    const decades = [1, 0.1, 0.01, 0.001, 0.0001].filter((v) => v > low && v < high);
    const narrow = plot.width < 480;
    const marked = shares.filter((share, i) => (share === 1 || share <= 0.5) && (!narrow || i % 2 === 0));
    const now = plot.x(shares[frame]);
    const kindOf = (i, s) => `dpm-run dpm-ink-${INKS[i % 4]}${s === seed ? " dpm-picked" : ""}`;
    renew(
      race,
      ...whole.rows(decades, String),
      whole.across(floor, "dpm-floor"),
      ...plot.marks(marked, percent, (share) => (share === 1 ? "end" : "middle")),
      text((whole.left + whole.end) / 2, plot.height - 3, "share of the budget"),
      line(now, 4, now, plot.floor, "dpm-now-line dpm-axis"),
      ...scores.flatMap((runs, i) =>
        runs.map((run, s) => plot.curve(kindOf(i, s), run, (score, f) => [shares[f], score])),
      ),
    );
  }
  figure.draw = () => {
    panes.forEach(({ canvas, detail }, i) => {
      const square = openSquare(canvas, EXTENT, figure.colours.panel);
      if (truth) drawPoints(square, points, about.target, { colour: figure.colours.muted, size: 1.5, alpha: 0.35 });
      const start = startOf(about, i, seed, frame);
      drawPoints(square, points.subarray(start, start + 2 * about.n), about.n, {
        colour: figure.colours[INKS[i % 4]],
        size: 2.5,
        alpha: 0.8,
      });
      detail.textContent = `distance ${named(scores[i][seed][frame], floor)}`;
    });
    drawRace();
    Object.assign(figure.root.dataset, { frame, seed });
    figure.root.dataset.scores = names.map((_, i) => scores[i][seed][frame]).join(" ");
  };
  const progress = figure.slider({
    wide: true,
    label: "Budget spent",
    min: 0,
    max: shares.length - 1,
    value: frame,
    format: (f) => percent(shares[f]),
    set: (f) => (frame = place = f),
  });
  const play = figure.playButton((seconds) => {
    place = turn(place, seconds / (isCalm() ? 2 : 1), shares.length);
    frame = Math.min(shares.length - 1, Math.floor(place));
    progress.set(frame);
    figure.redraw();
  });
  const seeds = figure.chooser({
    label: "Seed",
    options: Array.from({ length: about.seeds }, (_, s) => [s, String(s)]),
    value: 0,
    set: (s) => (seed = Number(s)),
  });
  const shown = figure.checkbox({ label: "Show data", set: (checked) => (truth = checked) });
  figure.add(
    html("div", { class: "dpm-quartet" }, ...panes.map(({ node }) => node)),
    controls(play, progress, seeds, shown),
    title("Energy distance to fresh data", " (dashed: two standard errors of the noise)"),
    race,
  );
  figure.redraw();
  return figure.close;
}

export default live(render);
