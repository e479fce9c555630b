// Data points to drag, and what a noisy point says of them: E[y | t, z], its uncertainty, the score, and the flow.

import { button, clamp, cleared, controls, draggable, html, keys, openFigure, renew, svg } from "./common.js";
import { moments } from "./mixture.js";
import { circle, handle, line, minus, moveHandle, polyline, sharesAt } from "./plot.js";
import { live } from "./view.js";

// --- Numbers. ---

/** Equally likely points, as data for `moments`. */
export const finiteSet = (points) => ({ centers: points, weights: points.map(() => 1 / points.length), variance: 0 });

/** The flow dz/dt = -score/2 from z at t down to t0, in `steps` steps of Heun's method in log t: all its places. */
export function flowDown(z, t, t0, steps, data) {
  const h = Math.log(t0 / t) / steps;
  const slope = (at, time) => moments(at, time, data).score.map((s) => -0.5 * time * s);
  const path = [z];
  for (let k = 0; k < steps; k++) {
    const now = t * Math.exp(h * k);
    const after = t * Math.exp(h * (k + 1));
    const first = slope(z, now);
    const second = slope(
      z.map((v, i) => v + h * first[i]),
      after,
    );
    z = z.map((v, i) => v + 0.5 * h * (first[i] + second[i]));
    path.push(z);
  }
  return path;
}

/** The half axes of the ellipse of one standard deviation of a 2 x 2 covariance, and the angle of the first. */
export function ellipse([[a, b], [, c]]) {
  const middle = 0.5 * (a + c);
  const off = Math.hypot(0.5 * (a - c), b);
  return {
    long: Math.sqrt(Math.max(0, middle + off)),
    short: Math.sqrt(Math.max(0, middle - off)),
    angle: 0.5 * Math.atan2(2 * b, a - c),
  };
}

// --- The figure. ---

const REACH = 2.5;
const LOW = -2.3;
const HIGH = 1.2; // log10 t
const KEYS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
  PageUp: [0, 5],
  PageDown: [0, -5],
  Home: [-5, 0],
  End: [5, 0],
};
const PRESETS = {
  five: {
    words: "five points",
    points: [
      [-1.5, 1.1],
      [1.3, 1.4],
      [1.6, -0.9],
      [-0.3, -1.6],
      [-1.1, -0.4],
    ],
  },
  two: {
    words: "two points",
    points: [
      [-1, 0],
      [1, 0],
    ],
  },
  line: {
    words: "on a line",
    points: [
      [-2, -1],
      [-1, -0.5],
      [0, 0],
      [1, 0.5],
      [2, 1],
    ],
  },
  one: { words: "one point", points: [[0.8, 0.5]] },
};

function render({ model, el }) {
  const figure = openFigure(model, el, "guess");
  let points = PRESETS.five.points.map((p) => p.slice());
  let probe = [0.3, 0.5];
  let logT = Math.log10(model.get("t"));
  let arrows = true;
  let handles = [];

  const shade = figure.canvas();
  const board = svg("svg", {
    class: "dpm-board",
    viewBox: "0 0 400 400",
    role: "group",
    "aria-label": "The plane: data points and a noisy point z, to be moved",
  });
  const field = svg("g");
  const marks = svg("g");
  const grips = svg("g");
  board.append(field, marks, grips);
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const X = (v) => (400 * (v + REACH)) / (2 * REACH);
  const Y = (v) => (400 * (REACH - v)) / (2 * REACH);
  const pair = (p, digits = 2) => `(${p.map((v) => minus(v.toFixed(digits))).join(", ")})`;

  /** A handle that moves in two directions, by pointer or by the arrow keys. */
  function grip(label, kind, get, set) {
    const cross = svg("path", { d: "M -9 0 H 9 M 0 -9 V 9", class: "dpm-cross" });
    const parts = kind === "dpm-probe" ? [cross] : [];
    const node = handle({ label, min: -REACH, max: REACH, kind, dot: 7, grip: 19 }, ...parts);
    const move = (x, y) => {
      set([clamp(Math.round(100 * x) / 100, -REACH, REACH), clamp(Math.round(100 * y) / 100, -REACH, REACH)]);
      figure.redraw();
    };
    draggable(node, {
      keys: KEYS,
      step: (by, event) => move(...get().map((v, i) => v + (event.shiftKey ? 0.01 : 0.1) * by[i])),
      drag: (event) => {
        const { x, y } = sharesAt(event, board, { left: 0, right: 0, top: 0, bottom: 0 });
        move((2 * x - 1) * REACH, (2 * y - 1) * REACH);
      },
    });
    return { node, get };
  }
  figure.keep(
    "points",
    () => [...points, probe],
    (values) => {
      const within = values.map((p) => p.map((v) => clamp(v, -REACH, REACH)));
      probe = within.pop();
      points = within;
    },
  );
  function makeHandles() {
    const datum = (k) => [() => points[k], (p) => (points[k] = p)];
    const ofProbe = [() => probe, (p) => (probe = p)];
    handles = points.map((_, k) => grip(`Data point ${k + 1}`, "dpm-datum", ...datum(k)));
    handles.push(grip("Noisy point z", "dpm-probe", ...ofProbe));
    grips.replaceChildren(...handles.map(({ node }) => node));
    figure.redraw();
  }

  function drawShade(data, t) {
    const context = cleared(shade, figure.colours.panel);
    const cells = 50;
    const side = shade.width / cells;
    const values = [];
    for (let r = 0; r < cells; r++) {
      for (let c = 0; c < cells; c++)
        values.push(
          moments([-REACH + (2 * REACH * (c + 0.5)) / cells, REACH - (2 * REACH * (r + 0.5)) / cells], t, data).logP,
        );
    }
    const top = Math.max(...values);
    context.fillStyle = figure.colours.limit;
    values.forEach((v, n) => {
      const alpha = 0.4 * Math.exp(v - top);
      if (alpha < 0.004) return;
      context.globalAlpha = alpha;
      const x = Math.round((n % cells) * side);
      const y = Math.round(Math.floor(n / cells) * side);
      context.fillRect(
        x,
        y,
        Math.round(((n % cells) + 1) * side) - x,
        Math.round((Math.floor(n / cells) + 1) * side) - y,
      );
    });
    context.globalAlpha = 1;
  }
  function drawField(data, t) {
    const lines = [];
    const n = 13;
    for (let r = 0; r < n && arrows; r++) {
      for (let c = 0; c < n; c++) {
        const z = [-REACH + (2 * REACH * (c + 0.5)) / n, -REACH + (2 * REACH * (r + 0.5)) / n];
        const { mean } = moments(z, t, data);
        const along = [mean[0] - z[0], mean[1] - z[1]];
        const length = Math.hypot(...along) || 1;
        const shown = (0.3 * Math.tanh(length / 0.8)) / length;
        lines.push(
          `M ${X(z[0]).toFixed(1)} ${Y(z[1]).toFixed(1)} L ${X(z[0] + shown * along[0]).toFixed(1)} ${Y(z[1] + shown * along[1]).toFixed(1)}`,
        );
        lines.push(`m -1.6 0 a 1.6 1.6 0 1 0 3.2 0 a 1.6 1.6 0 1 0 -3.2 0`);
      }
    }
    renew(field, svg("path", { d: lines.join(" "), class: "dpm-field" }));
  }
  figure.draw = () => {
    const data = finiteSet(points);
    const t = 10 ** logT;
    const { mean, covariance, score, shares } = moments(probe, t, data);
    if (shade.width) drawShade(data, t);
    drawField(data, t);
    const { long, short, angle } = ellipse(covariance);
    const scale = 400 / (2 * REACH);
    const path = flowDown(probe, t, 1e-4, 60, data).map((p) => [X(p[0]), Y(p[1])]);
    renew(
      marks,
      polyline("dpm-way", path),
      svg("ellipse", {
        rx: Math.max(1, long * scale),
        ry: Math.max(1, short * scale),
        transform: `translate(${X(mean[0])} ${Y(mean[1])}) rotate(${(-180 * angle) / Math.PI})`,
        class: "dpm-unsure",
      }),
      line(X(probe[0]), Y(probe[1]), X(mean[0]), Y(mean[1]), "dpm-towards"),
      circle("dpm-mean", X(mean[0]), Y(mean[1]), 6),
    );
    handles.forEach(({ node, get }, k) => {
      const p = get();
      moveHandle(node, X(p[0]), Y(p[1]), p[0], pair(p));
      if (k < points.length) node.lastChild.setAttribute("r", 5 + 8 * Math.sqrt(shares[k]));
    });
    detail.textContent =
      `t = ${t.toPrecision(2)}, z = ${pair(probe)}: E[y | t, z] = ${pair(mean)}. Score (E − z)/t = ${pair(score)}. ` +
      `Chances of the points: ${shares.map((s) => `${(100 * s).toFixed(0)}%`).join(", ")}. Spread of y: ${long.toFixed(2)} along, ${short.toFixed(2)} across.`;
    Object.assign(figure.root.dataset, {
      t,
      mean: mean.join(" "),
      score: score.join(" "),
      z: probe.join(" "),
      points: points.length,
    });
  };

  const level = figure.slider({
    wide: true,
    label: "Noise t",
    min: LOW,
    max: HIGH,
    step: 0.05,
    value: logT,
    format: (v) => (10 ** v).toPrecision(2),
    set: (v) => (logT = v),
  });
  const preset = figure.chooser({
    label: "Data",
    options: Object.entries(PRESETS).map(([k, { words }]) => [k, words]),
    value: "five",
    set: (k) => (points = PRESETS[k].points.map((p) => p.slice())),
    after: makeHandles,
  });
  const more = button("Add a point", () => {
    if (points.length >= 12) return;
    const angle = 2.4 * points.length;
    points.push([1.8 * Math.cos(angle), 1.8 * Math.sin(angle)].map((v) => Math.round(100 * v) / 100));
    makeHandles();
  });
  const less = button("Remove one", () => {
    if (points.length < 2) return;
    points.pop();
    makeHandles();
  });
  const show = figure.checkbox({ label: "Arrows", checked: true, set: (on) => (arrows = on) });
  figure.add(
    html("div", { class: "dpm-plane" }, shade, board),
    keys({
      data: "data, as large as they are likely",
      model: "z, and E[y | t, z] with the spread of y",
      drift: "towards the guess",
      muted: "the flow down from z",
    }),
    controls(level, show),
    controls(preset, more, less),
    detail,
  );
  makeHandles();
  return figure.close;
}

export default live(render);
