// One path in two pictures: x_k, which shrinks and stays of one size, and z(tau), which only gathers noise.

import { button, clamp, controls, fillNormals, html, isCalm, openFigure, svg, uniforms } from "./common.js";
import { moments } from "./mixture.js";

// --- Numbers; the twins are in dpm_lib.schedules. ---

/** A Brownian motion at rising `levels`, from 0 at level 0: one standard normal number for each. */
export function brownian(levels, normals) {
  let last = 0;
  let w = 0;
  return Float64Array.from(levels, (level, i) => {
    w += Math.sqrt(level - last) * normals[i];
    last = level;
    return w;
  });
}

export const toExploding = (x, tau) => Math.sqrt(1 + tau) * x;
export const toPreserving = (z, tau) => z / Math.sqrt(1 + tau);

/** log q_k and its slope at x, by way of z: the density grows by what the space shrinks. */
export function preserved(x, tau, data) {
  const { logP, score } = moments([toExploding(x, tau)], tau, data);
  return { logP: logP + 0.5 * Math.log1p(tau), score: Math.sqrt(1 + tau) * score[0] };
}

/** All levels of all schedules but 0, and `extra` more between the least and the largest: rising, each once. */
export function levelsOf(schedules, extra) {
  const own = Object.values(schedules)
    .flat()
    .filter((v) => v > 0);
  const low = Math.min(...own);
  const high = Math.max(...own);
  const more = Array.from({ length: extra }, (_, i) => low * (high / low) ** ((i + 0.5) / extra));
  return [...new Set([...own, ...more])].sort((a, b) => a - b);
}

// --- The figure. ---

const PATHS = 6;
const CHOSEN = 0;

function render({ model, el }) {
  const figure = openFigure(model, el, "pictures");
  const schedules = model.get("schedules");
  const data = {
    centers: model.get("centers").map((c) => [c]),
    weights: model.get("weights"),
    variance: model.get("variance"),
  };
  const levels = levelsOf(schedules, 600);
  let name = Object.keys(schedules)[0];
  let seed = 1;
  let zoom = true;
  let tau = schedules[name];
  let k = tau.length - 1;
  let owed = 0;
  let paths;

  const left = svg("svg", { class: "dpm-plot dpm-shrunk", role: "img", "aria-label": "Paths of x against the step k" });
  const right = svg("svg", {
    class: "dpm-plot dpm-unshrunk",
    role: "img",
    "aria-label": "The same paths of z against the noise variance tau",
  });
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const text = (x, y, words, anchor = "middle") => svg("text", { x, y, "text-anchor": anchor }, words);
  const words = (v) => String(v).replace("-", "−");
  const short = (v) => words(Number(v.toPrecision(3)));

  function draw() {
    const uniform = uniforms(seed);
    const normals = new Float64Array(levels.length);
    paths = Array.from({ length: PATHS }, () => {
      let pick = uniform();
      let which = 0;
      while (which + 1 < data.weights.length && pick > data.weights[which]) pick -= data.weights[which++];
      const spread = fillNormals(new Float64Array(1), uniform)[0] * Math.sqrt(data.variance);
      const y = data.centers[which][0] + spread;
      const w = brownian(levels, fillNormals(normals, uniform));
      return { y, at: new Map(levels.map((level, i) => [level, y + w[i]])) };
    });
  }
  const zAt = (path, level) => (level === 0 ? path.y : path.at.get(level));

  function panel(node, { high, marks, x, xMarks, places, title }) {
    const width = node.clientWidth || 320;
    const height = node.clientHeight || 240;
    const L = 30;
    const B = 36;
    const R = 8;
    const T = 20;
    const px = (v) => L + ((width - L - R - 46) * v) / x;
    const py = (v) => T + ((height - T - B) * (high - v)) / (2 * high);
    const line = (points, kind) =>
      svg("polyline", {
        points: points.map(([a, b]) => `${px(a).toFixed(1)},${clamp(py(b), -9, height + 9).toFixed(1)}`).join(" "),
        class: kind,
      });
    const bell = places.density;
    const top = Math.max(...bell.map(([, p]) => p));
    const edge = px(x) + 4;
    node.replaceChildren(
      ...marks.map((v) => svg("line", { x1: L, x2: px(x), y1: py(v), y2: py(v), class: "dpm-grid" })),
      ...marks.map((v) => text(L - 4, py(v) + 4, short(v), "end")),
      ...xMarks.map(([v, name]) => text(px(v), height - 20, name)),
      text((L + px(x)) / 2, height - 4, places.axis),
      text(L, 13, title, "start"),
      ...paths.map((_, i) => line(places.paths[i], i === CHOSEN ? "dpm-walk dpm-first" : "dpm-walk dpm-faint")),
      svg("polyline", {
        points: bell.map(([v, p]) => `${(edge + (40 * p) / top).toFixed(1)},${py(v).toFixed(1)}`).join(" "),
        class: "dpm-law dpm-ink-limit",
      }),
      svg("circle", { cx: px(places.now[0]), cy: py(places.now[1]), r: 5, class: "dpm-dot" }),
    );
  }
  const bell = (high, density) =>
    Array.from({ length: 121 }, (_, i) => -high + (2 * high * i) / 120).map((v) => [v, Math.exp(density(v))]);

  figure.draw = () => {
    const T = tau.length - 1;
    const now = tau[k];
    const steps = Array.from({ length: k + 1 }, (_, j) => j);
    const chosen = paths[CHOSEN];
    const safe = Math.max(now, 1e-9);
    const shrunk = toPreserving(zAt(chosen, now), now);
    panel(left, {
      high: 3.2,
      marks: [-2, 0, 2],
      x: T,
      xMarks: [0, T / 2, T].map((v) => [v, v]),
      title: "x",
      places: {
        axis: "step k",
        now: [k, shrunk],
        paths: paths.map((p) => steps.map((j) => [j, toPreserving(zAt(p, tau[j]), tau[j])])),
        density: bell(3.2, (v) => preserved(v, safe, data).logP),
      },
    });
    const far = zoom ? Math.max(now, 1e-3) : tau[T];
    const high = 3.2 * Math.sqrt(1 + far);
    const mark =
      10 ** Math.floor(Math.log10(high)) *
      (high / 10 ** Math.floor(Math.log10(high)) > 5 ? 4 : high / 10 ** Math.floor(Math.log10(high)) > 2.5 ? 2 : 1);
    const before = [0, ...levels.filter((level) => level <= now)];
    panel(right, {
      high,
      marks: [-mark, 0, mark],
      x: far,
      xMarks: [
        [0, 0],
        [far, short(far)],
      ],
      title: "z",
      places: {
        axis: "noise variance τ",
        now: [now, zAt(chosen, now)],
        paths: paths.map((p) => before.map((level) => [level, zAt(p, level)])),
        density: bell(high, (v) => moments([v], safe, data).logP),
      },
    });
    const z = zAt(chosen, now);
    const logP = moments([z], safe, data);
    const logQ = preserved(shrunk, safe, data);
    detail.textContent =
      `Step ${k} of ${T}: ᾱ = ${(1 / (1 + now)).toPrecision(3)}, τ = ${short(now)}, √(1 + τ) = ${Math.sqrt(1 + now).toFixed(3)}. ` +
      `The thick path: x = ${words(shrunk.toFixed(3))}, z = ${words(z.toFixed(3))}. ` +
      `Log density ${words(logQ.logP.toFixed(3))} at x, ${words(logP.logP.toFixed(3))} at z; score ${words(logQ.score.toFixed(3))} at x, ${words(logP.score[0].toFixed(3))} at z.`;
    Object.assign(figure.root.dataset, { t: k, tau: now, x: shrunk, z, seed, schedule: name });
  };

  const clock = figure.slider({
    wide: true,
    label: "Step k",
    min: 0,
    max: tau.length - 1,
    value: k,
    format: (v) => `k = ${v}`,
    set: (v) => {
      play.set(false);
      k = v;
    },
  });
  const play = figure.playButton((seconds) => {
    const T = tau.length - 1;
    if (k === T) k = 0;
    owed += (seconds * T) / (isCalm() ? 12 : 6);
    const go = Math.floor(owed);
    if (!go) return;
    owed -= go;
    k = Math.min(T, k + go);
    clock.set(k);
    if (k === T) play.set(false);
    figure.redraw();
  });
  const choice = figure.chooser({
    label: "Schedule",
    options: Object.keys(schedules),
    value: name,
    set: (v) => {
      name = v;
      tau = schedules[name];
      k = Math.min(k, tau.length - 1);
      clock.range.max = tau.length - 1;
      clock.set(k);
    },
  });
  const lens = figure.chooser({
    label: "Axes on the right",
    options: [
      ["zoom", "as far as the path has come"],
      ["whole", "as far as it will go"],
    ],
    value: "zoom",
    set: (v) => (zoom = v === "zoom"),
  });
  const again = button("New paths", () => {
    seed += 1;
    draw();
    figure.redraw();
  });
  figure.add(
    html("div", { class: "dpm-two" }, left, right),
    controls(play, clock, again),
    controls(choice, lens),
    detail,
  );
  draw();
  figure.onResize(left);
  figure.onResize(right);
  return figure.close;
}

export default { render };
