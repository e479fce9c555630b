// A jump process, played: the paths of a few walkers, and where all of them are against the law.

import { button, cleared, controls, html, isCalm, openFigure, uniforms } from "./common.js";
import { INKS } from "./grid.js";
import { live } from "./view.js";

/** The jumps of a walker from `start` until `end`: times (0 first) and states. Exponential waits, then a target. */
export function jumpPath(Q, start, end, uniform) {
  const times = [0];
  const states = [start];
  for (;;) {
    const i = states[states.length - 1];
    const exit = -Q[i][i];
    const t = exit > 0 ? times[times.length - 1] - Math.log(uniform()) / exit : Infinity;
    if (t > end) return { times, states };
    let height = uniform() * exit;
    let target = -1;
    for (let j = 0; j < Q.length && height >= 0; j++) {
      if (j === i || Q[i][j] === 0) continue;
      target = j;
      height -= Q[i][j];
    }
    times.push(t);
    states.push(target);
  }
}

/** The state of a path at time t: that of its last jump. */
export function stateAt({ times, states }, t) {
  let low = 0;
  let high = times.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (times[middle] <= t) low = middle;
    else high = middle;
  }
  return states[low];
}

/** How many of the paths are in each of n states at time t. */
export function census(paths, n, t) {
  const counts = new Array(n).fill(0);
  for (const path of paths) counts[stateAt(path, t)] += 1;
  return counts;
}

/** Pearson's statistic of counts against probabilities, over the states that have any. */
export function chiSquare(counts, law) {
  const n = counts.reduce((a, b) => a + b, 0);
  return law.reduce((sum, p, i) => (p > 0 ? sum + (counts[i] - n * p) ** 2 / (n * p) : sum), 0);
}

const SHOWN = 3;
const STEPS = 200;

function render({ model, el }) {
  const figure = openFigure(model, el, "jumps");
  const { root, colours } = figure;
  const Q = model.get("rates");
  const laws = model.get("laws"); // laws[start][step][state]
  const horizon = model.get("horizon");
  const n = Q.length;
  let count = 300;
  let start = 0;
  let seed = 1;
  let k = 0;
  let paths;

  const film = figure.canvas("The paths of three walkers, as steps between states");
  const bars = figure.canvas("Where all walkers are, as bars, against the law, as lines");
  const now = html("p", { class: "dpm-detail dpm-now" });
  film.style.aspectRatio = "1.9";
  bars.style.aspectRatio = "1.19";

  function run() {
    const uniform = uniforms(seed);
    paths = Array.from({ length: count }, () => jumpPath(Q, start, horizon, uniform));
    figure.redraw();
  }
  function drawFilm(t) {
    const context = cleared(film, colours.panel);
    const pixel = devicePixelRatio;
    const left = 26 * pixel;
    const right = film.width - 8 * pixel;
    const x = (s) => left + ((right - left) * s) / horizon;
    const y = (state, lane = 0) => (0.5 + state) * (film.height / n) + (lane - (SHOWN - 1) / 2) * 7 * pixel;
    context.fillStyle = colours.muted;
    context.textAlign = "center";
    for (let i = 0; i < n; i++) {
      context.fillText(String(i + 1), 12 * pixel, y(i) + 4 * pixel);
      context.fillRect(left, y(i + 0.5), right - left, i < n - 1 ? 0.5 * pixel : 0);
    }
    paths.slice(0, SHOWN).forEach(({ times, states }, lane) => {
      context.strokeStyle = colours[INKS[lane]];
      context.lineWidth = 2 * pixel;
      context.beginPath();
      times.forEach((s, m) => {
        if (s > t) return;
        context.lineTo(x(s), y(states[m], lane));
        context.lineTo(x(Math.min(t, times[m + 1] ?? horizon)), y(states[m], lane));
      });
      context.stroke();
    });
    context.fillStyle = colours.ink;
    context.fillRect(x(t), 0, pixel, film.height);
  }
  function drawBars(counts, law) {
    const context = cleared(bars, colours.panel);
    const pixel = devicePixelRatio;
    const floor = bars.height - 20 * pixel;
    const wide = bars.width / n;
    context.textAlign = "center";
    for (let i = 0; i < n; i++) {
      const height = (counts[i] / count) * (floor - 8 * pixel);
      context.fillStyle = colours[INKS[i % INKS.length]];
      context.globalAlpha = 0.5;
      context.fillRect((i + 0.15) * wide, floor - height, 0.7 * wide, height);
      context.globalAlpha = 1;
      context.fillStyle = colours.ink;
      context.fillRect((i + 0.08) * wide, floor - law[i] * (floor - 8 * pixel) - pixel, 0.84 * wide, 2 * pixel);
      context.fillStyle = colours.muted;
      context.fillText(`state ${i + 1}`, (i + 0.5) * wide, bars.height - 5 * pixel);
    }
  }
  figure.draw = () => {
    if (!film.width) return;
    const t = (k * horizon) / STEPS;
    const law = laws[start][k];
    const counts = census(paths, n, t);
    drawFilm(t);
    drawBars(counts, law);
    const possible = law.filter((p) => p > 0).length;
    const chi =
      k > 0 ? ` Chi-square ${chiSquare(counts, law).toFixed(1)} with ${possible - 1} degrees of freedom.` : "";
    now.textContent = `At t = ${t.toFixed(2)}: walkers ${counts.map((c) => (c / count).toFixed(3)).join(", ")}; law ${law.map((p) => p.toFixed(3)).join(", ")}.${chi}`;
    Object.assign(root.dataset, { k, seed, count });
  };

  const moveTo = (index) => {
    k = index;
    time.set(k);
    figure.redraw();
  };
  const time = figure.slider({
    wide: true,
    label: "t",
    min: 0,
    max: STEPS,
    value: 0,
    format: (value) => ((value * horizon) / STEPS).toFixed(2),
    set: moveTo,
  });
  const play = figure.playSteps(
    () => (isCalm() ? 10 : 30),
    (count) => moveTo(k >= STEPS ? 0 : Math.min(STEPS, k + count)),
  );
  const begin = figure.chooser({
    label: "Start in",
    options: Q.map((_, i) => [i, `state ${i + 1}`]),
    value: 0,
    set: (value) => (start = Number(value)),
    after: run,
  });
  const crowd = figure.chooser({
    label: "Walkers",
    options: [30, 300, 3000],
    value: count,
    set: (value) => (count = Number(value)),
    after: run,
  });
  const again = button("New walkers", () => (seed += 1), run);
  figure.add(
    controls(begin, crowd, again),
    html(
      "div",
      { class: "dpm-uneven" },
      html("div", { class: "dpm-live" }, film),
      html("div", { class: "dpm-live" }, bars),
    ),
    controls(play, time),
    now,
  );
  run();
  return figure.close;
}

export default live(render);
