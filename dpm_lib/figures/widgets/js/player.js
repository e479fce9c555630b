// Three rows over one time slider: data diffusing, the model un-diffusing, the drift it has learned.

import { clamp, controls, drawPoints, fixedPoint, html, isCalm, openFigure, openSquare } from "./common.js";
import { live } from "./view.js";

const FOLLOWED = 5; // points drawn large, with their trail
const SECONDS = 5; // from data to noise at speed 1
const HOLD = 0.8; // seconds of rest at either end

/** The points at time t, which may lie between two steps: `frames` is flat, (T + 1, n, 2). */
export function pointsAt(frames, t, n, count, out) {
  const before = Math.floor(t);
  const part = t - before;
  const here = before * n * 2;
  const next = part > 0 ? here + n * 2 : here;
  for (let i = 0; i < 2 * count; i++) out[i] = frames[here + i] * (1 - part) + frames[next + i] * part;
  return out;
}

/** Where play goes next: up to T, a rest, down to 0, a rest, and again. */
export function advance({ t, direction, rest }, steps, T, holdSteps) {
  if (rest > 0) return { t, direction, rest: rest - steps };
  const moved = clamp(t + direction * steps, 0, T);
  const turn = moved === (direction > 0 ? T : 0);
  return { t: moved, direction: turn ? -direction : direction, rest: turn ? holdSteps : 0 };
}

/**
 * Arrows from each grid point; returns the length of the longest, which is drawn one cell long. Lengths go
 * by square roots, so that the short arrows near the data can be seen beside the long ones far out.
 */
function drawArrows(square, at, drift, offset, cell, colour) {
  const { context, x, y, pixel } = square;
  let longest = 0;
  for (let i = 0; i < at.length; i += 2)
    longest = Math.max(longest, Math.hypot(drift[offset + i], drift[offset + i + 1]));
  context.strokeStyle = colour;
  context.lineWidth = 1.1 * pixel;
  context.lineCap = "round";
  context.beginPath();
  for (let i = 0; i < at.length; i += 2) {
    const [dx, dy] = [drift[offset + i], drift[offset + i + 1]];
    const length = Math.hypot(dx, dy);
    if (length === 0) continue;
    const stretch = cell / Math.sqrt(longest * length);
    const [footX, footY] = [x(at[i]), y(at[i + 1])];
    const [tipX, tipY] = [x(at[i] + dx * stretch), y(at[i + 1] + dy * stretch)];
    const head = Math.min(3 * pixel, 0.4 * Math.hypot(tipX - footX, tipY - footY));
    const angle = Math.atan2(tipY - footY, tipX - footX);
    context.moveTo(footX, footY);
    context.lineTo(tipX, tipY);
    for (const side of [2.6, -2.6]) {
      context.moveTo(tipX, tipY);
      context.lineTo(tipX + head * Math.cos(angle + side), tipY + head * Math.sin(angle + side));
    }
  }
  context.stroke();
  return longest;
}

/** The first few points, large, each with the way it came: from t = 0 forward, from t = T in reverse. */
function drawTrails({ context, x, y, pixel }, frames, points, n, start, t, colour) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = pixel;
  const direction = start <= t ? 1 : -1;
  for (let i = 0; i < 2 * FOLLOWED; i += 2) {
    context.beginPath();
    for (let s = start; direction * (t - s) >= 0; s += direction) {
      const at = s * n * 2 + i;
      context.lineTo(x(frames[at]), y(frames[at + 1]));
    }
    context.lineTo(x(points[i]), y(points[i + 1]));
    context.globalAlpha = 0.6;
    context.stroke();
    context.globalAlpha = 1;
    context.beginPath();
    context.arc(x(points[i]), y(points[i + 1]), 3.5 * pixel, 0, 2 * Math.PI);
    context.fill();
  }
}

function writeTime({ context, pixel }, t, { muted, panel }) {
  context.font = `${10 * pixel}px system-ui, sans-serif`;
  context.lineJoin = "round";
  context.lineWidth = 5 * pixel;
  context.strokeStyle = panel;
  context.fillStyle = muted;
  context.strokeText(`t = ${t}`, 5 * pixel, 13 * pixel);
  context.fillText(`t = ${t}`, 5 * pixel, 13 * pixel);
}

const ROWS = [
  {
    key: "data",
    title: "Data diffusing",
    about: "Each point takes small random steps; the shape dissolves into noise.",
  },
  { key: "model", title: "Model un-diffusing", about: "Fresh noise at t = T walks back, one learned step at a time." },
  { key: "drift", title: "Learned drift", about: "" },
];

function render({ model, el }) {
  const figure = openFigure(model, el, "player");
  const { root, colours } = figure;
  let T;
  let n;
  let extent;
  let frames;
  let at;
  let drift;
  let cell;
  let scratch;
  let state = { t: Math.round(model.get("T") / 2), direction: 1, rest: 0 };
  let speed = 1;
  let count = 0;
  let follow = false;

  function read() {
    [T, n, extent] = ["T", "n", "extent"].map((name) => model.get(name));
    frames = {
      data: fixedPoint(model.get("forward"), model.get("scale")),
      model: fixedPoint(model.get("reverse"), model.get("scale")),
    };
    at = fixedPoint(model.get("drift_at"), model.get("scale"));
    drift = fixedPoint(model.get("drift"), 1);
    model.get("drift_scale").forEach((scale, t) => {
      for (let i = t * at.length; i < (t + 1) * at.length; i++) drift[i] *= scale;
    });
    if (frames.data.length !== (T + 1) * n * 2 || drift.length !== (T + 1) * at.length) {
      throw new Error("the saved points of this figure are incomplete");
    }
    cell = (2 * extent) / Math.sqrt(at.length / 2);
    scratch = new Float32Array(2 * n);
    count = n;
  }
  read();

  const rows = ROWS.map(({ key, title, about }) => {
    const live = figure.canvas(`${title}, at the time on the slider`);
    const words = html("p", { class: "dpm-about" }, about);
    const stills = [0, 1, 2, 3, 4].map((quarter) => {
      const canvas = figure.canvas();
      canvas.addEventListener("click", () => goTo(Math.round((quarter * T) / 4)));
      return { canvas, t: () => Math.round((quarter * T) / 4) };
    });
    const node = html(
      "div",
      { class: `dpm-row dpm-row-${key}` },
      html("div", { class: "dpm-live" }, live),
      html(
        "div",
        { class: "dpm-side" },
        html("p", { class: "dpm-title" }, title),
        words,
        html("div", { class: "dpm-stills" }, ...stills.map((still) => still.canvas)),
      ),
    );
    return { key, live, words, stills, node };
  });

  function drawPanel(canvas, key, t, style) {
    const square = openSquare(canvas, extent, colours.panel);
    let longest = 0;
    if (key === "drift") {
      drawPoints(square, pointsAt(frames.data, t, n, count, scratch), count, {
        ...style,
        colour: colours.data,
        alpha: 0.18,
      });
      longest = drawArrows(square, at, drift, Math.round(t) * at.length, cell, colours.drift);
    } else {
      const points = pointsAt(frames[key], t, n, count, scratch);
      drawPoints(square, points, count, { ...style, colour: colours[key], alpha: style.trails ? 0.3 : style.alpha });
      if (style.trails) drawTrails(square, frames[key], points, n, key === "data" ? 0 : T, t, colours.ink);
    }
    writeTime(square, Math.round(t), colours);
    return longest;
  }

  figure.draw = ({ all }) => {
    const t = isCalm() ? Math.round(state.t) : state.t;
    for (const { key, live, words, stills, node } of rows) {
      const longest = drawPanel(live, key, t, { size: 2, alpha: 0.6, trails: follow });
      if (key === "drift") {
        words.textContent =
          t < 0.5
            ? "At t = 0 there is no step left to take."
            : `Where one step back from t moves a point on average. The longest arrow stands for ${longest.toPrecision(2)}.`;
      }
      node.classList.toggle("dpm-active", key === (state.direction > 0 ? "data" : "model"));
      for (const still of stills) {
        if (all && still.canvas.width) drawPanel(still.canvas, key, still.t(), { size: 1.2, alpha: 0.5 });
        still.canvas.classList.toggle("dpm-here", Math.abs(still.t() - t) < 0.5);
      }
    }
    root.dataset.t = Math.round(t);
  };

  const time = figure.slider({
    wide: true,
    label: "Time",
    min: 0,
    max: T,
    value: state.t,
    format: (t) => `t = ${t} of ${T}`,
    set: goTo,
  });
  function goTo(t) {
    state = { t, direction: t >= T ? -1 : t <= 0 ? 1 : state.direction, rest: 0 };
    time.set(t);
    figure.redraw();
  }
  const play = figure.playButton((seconds) => {
    const rate = (speed * T) / SECONDS / (isCalm() ? 2 : 1);
    state = advance(state, seconds * rate, T, HOLD * rate);
    time.set(Math.round(state.t));
    figure.redraw();
  });
  const pace = figure.chooser({
    label: "Speed",
    options: [
      ["0.25", "¼×"],
      ["0.5", "½×"],
      ["1", "1×"],
      ["2", "2×"],
    ],
    value: "1",
    set: (value) => (speed = Number(value)),
  });
  const points = figure.slider({
    label: "Points",
    min: Math.min(50, n),
    max: n,
    value: n,
    set: (value) => (count = value),
    after: figure.redrawAll,
  });
  const trails = figure.checkbox({
    label: `Follow ${Math.min(FOLLOWED, n)} points`,
    set: (value) => (follow = value && n >= FOLLOWED),
  });

  figure.add(
    controls(play, time),
    html("div", { class: "dpm-rows" }, ...rows.map((row) => row.node)),
    controls(pace, trails, points),
  );
  figure.onChange("forward reverse drift drift_at scale drift_scale extent", () => {
    read();
    time.range.max = T;
    points.range.max = n;
    points.set(n);
    goTo(Math.min(Math.round(state.t), T));
    figure.redrawAll();
  });
  return figure.close;
}

export default live(render);
