// One path in two pictures: x_k, which shrinks and stays of one size, and z(tau), which only gathers noise.

import { button, clamp, controls, fillNormals, html, isCalm, openFigure, renew, uniforms } from "./common.js";
import { moments } from "./mixture.js";
import { evenly, minus, openPlot, polyline, scales, short, text } from "./plot.js";
import { live } from "./view.js";

// --- Numbers; the twins are in dpm_lib.diffusion.schedules. ---

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
  let paths;

  const left = openPlot(figure, "dpm-shrunk", "Paths of x against the step k");
  const right = openPlot(figure, "dpm-unshrunk", "The same paths of z against the noise variance tau");
  const detail = html("p", { class: "dpm-detail dpm-now" });

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
    const margins = { left: 30, right: 54, top: 20, bottom: 36, gap: 4, foot: 20 };
    const plot = scales(node, margins, [0, x], [-high, high]);
    const bell = places.density;
    const top = Math.max(...bell.map(([, p]) => p));
    const edge = plot.end + 4;
    const line = (kind, points) =>
      polyline(
        kind,
        points.map(plot.place).map(([a, b]) => [a, clamp(b, -9, plot.height + 9)]),
      );
    renew(
      node,
      ...plot.rows(marks, (v) => short(v, 3)),
      ...xMarks.map(([v, name]) => text(plot.x(v), plot.height - 20, name)),
      text((plot.left + plot.end) / 2, plot.height - 4, places.axis),
      text(plot.left, 13, title, "start"),
      ...places.paths.map((path, i) => line(i === CHOSEN ? "dpm-walk dpm-first" : "dpm-walk dpm-faint", path)),
      polyline(
        "dpm-law dpm-ink-limit",
        bell.map(([v, p]) => [edge + (40 * p) / top, plot.y(v)]),
      ),
      plot.dot("dpm-dot", ...places.now, 5),
    );
  }
  const bell = (high, density) => evenly(-high, high, 120).map((v) => [v, Math.exp(density(v))]);

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
    const unit = 10 ** Math.floor(Math.log10(high));
    const mark = unit * (high / unit > 5 ? 4 : high / unit > 2.5 ? 2 : 1);
    const before = [0, ...levels.filter((level) => level <= now)];
    panel(right, {
      high,
      marks: [-mark, 0, mark],
      x: far,
      xMarks: [
        [0, 0],
        [far, short(far, 3)],
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
      `Step ${k} of ${T}: ᾱ = ${(1 / (1 + now)).toPrecision(3)}, τ = ${short(now, 3)}, √(1 + τ) = ${Math.sqrt(1 + now).toFixed(3)}. ` +
      `The thick path: x = ${minus(shrunk.toFixed(3))}, z = ${minus(z.toFixed(3))}. ` +
      `Log density ${minus(logQ.logP.toFixed(3))} at x, ${minus(logP.logP.toFixed(3))} at z; score ${minus(logQ.score.toFixed(3))} at x, ${minus(logP.score[0].toFixed(3))} at z.`;
    Object.assign(figure.root.dataset, { t: k, tau: now, x: shrunk, z, seed, schedule: name });
  };

  const clock = figure.slider({
    wide: true,
    label: "Step k",
    min: 0,
    max: tau.length - 1,
    value: k,
    format: (v) => `k = ${v}`,
    set: (v) => (k = v),
  });
  const play = figure.playSteps(
    () => (tau.length - 1) / (isCalm() ? 12 : 6),
    (count) => {
      const T = tau.length - 1;
      k = Math.min(T, (k === T ? 0 : k) + count);
      clock.set(k);
      if (k === T) play.set(false);
      figure.redraw();
    },
  );
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
  return figure.close;
}

export default live(render);
