// The worker in which the page trains: it is made of the text of these functions, so that it needs no file of its own.

import { fillNormals, uniforms } from "./common.js";
import {
  boundEnds,
  bridge,
  evenSteps,
  openSchedule,
  outputsOf,
  readFactor,
  softplus,
  stepKL,
  timesOf,
} from "./training_bound.js";
import { drawFromLaw, entropyOf, logDensity, openLaw, piecesOf, whyNot } from "./training_law.js";
import { openNetwork } from "./training_network.js";
import { assembleProducts, openProducts, plainProducts } from "./training_products.js";
import { adam, average, learningRate, openRun } from "./training_run.js";

const PARTS = [
  ...[
    fillNormals,
    uniforms,
    boundEnds,
    bridge,
    evenSteps,
    openSchedule,
    outputsOf,
    readFactor,
    softplus,
    stepKL,
    timesOf,
  ],
  ...[drawFromLaw, entropyOf, logDensity, openLaw, piecesOf, whyNot, openNetwork],
  ...[assembleProducts, openProducts, plainProducts, adam, average, learningRate, openRun, serve],
];

/** The worker's script. */
export const workerText = () => `"use strict";\n${PARTS.join("\n")}\nserve(self);\n`;

/**
 * Answers messages { kind, ... } at `place` with messages:
 *
 * open { drawing, all, seed, kept } opens a run for each settings of `all`: `opened`. go and stop train and pause; once takes
 * one step. at { t } says at which time drifts are asked for. file { run } asks for weights: `file`. While it trains it
 * posts `progress`, and from time to time `looked`: K of each run, its terms, ways back, drifts, and what to go on from.
 */
export function serve(place) {
  const [SLICE, LOOK, FINAL, WAYS, EVERY] = [40, 1024, 4096, 400, 12]; // ms; points; points; ways back; arrows a side
  let runs = [];
  let going = false;
  let waiting = 0;
  let time = null;
  let [spent, since, price, number] = [0, 0, 0, 0];

  const arrows = () => {
    const points = new Float64Array(2 * EVERY * EVERY);
    for (let i = 0; i < EVERY * EVERY; i++) {
      points[2 * i] = (((i % EVERY) + 0.5) / EVERY - 0.5) * 5.4;
      points[2 * i + 1] = ((Math.floor(i / EVERY) + 0.5) / EVERY - 0.5) * 5.4;
    }
    return points;
  };
  const driftsOf = () =>
    runs.map((run) => {
      const points = arrows();
      const t = Math.min(Math.max(1, time ?? 1), run.settings.T);
      return { t, points, drift: run.drift(points, t) };
    });
  /** K is always looked at on the same points with the same noise: what changes from look to look is the model. */
  function look(final = false) {
    const start = performance.now();
    const found = runs.map((run) => ({
      ...run.look(final ? FINAL : LOOK, uniforms(number + 1)),
      T: run.settings.T,
      logTau: run.levels().logTau,
      path: run.sample(WAYS, uniforms(number + 2)),
      kept: run.keep(),
    }));
    price = performance.now() - start;
    since = 0;
    place.postMessage({ kind: "looked", step: runs[0].step(), spent, final, found, drifts: driftsOf() });
  }
  const over = () => runs[0].step() >= runs[0].settings.steps;
  function step() {
    const start = performance.now();
    for (const run of runs) run.advance();
    const took = performance.now() - start;
    spent += took;
    since += took;
  }
  function work() {
    waiting = 0;
    if (!going) return;
    const start = performance.now();
    while (!over() && performance.now() - start < SLICE) step();
    place.postMessage({ kind: "progress", step: runs[0].step(), spent });
    if (over()) {
      going = false;
      look(true);
      place.postMessage({ kind: "done" });
      return;
    }
    if (since > Math.max(400, 3 * price)) look(); // at most a quarter of the time
    waiting = setTimeout(work, 0);
  }
  const answers = {
    alive: () => place.postMessage({ kind: "alive" }),
    open({ drawing, all, seed, kept, first }) {
      going = false;
      number = seed;
      runs = all.map((settings, i) => openRun({ drawing, settings, seed: seed + 10 * i, kept: kept?.[i] ?? null }));
      [spent, since, price] = [first?.spent ?? 0, 0, 0];
      const { law, network } = runs[0];
      const { entropy, entropyError, scale, shift } = law;
      const draws = Float32Array.from(drawFromLaw(law, 1500, uniforms(seed + 3)));
      const carried = runs.map((run) => run.carried);
      place.postMessage({ kind: "opened", entropy, entropyError, scale, shift, draws, carried, fast: network.fast });
      look();
    },
    go() {
      going = !over();
      if (!waiting) waiting = setTimeout(work, 0);
    },
    stop() {
      if (!going) return;
      going = false;
      look();
    },
    once() {
      if (over()) return;
      step();
      look();
    },
    at({ t }) {
      time = t;
      if (runs.length) place.postMessage({ kind: "drifts", drifts: driftsOf() });
    },
    file({ run }) {
      const { law, settings } = runs[run];
      place.postMessage({ kind: "file", tensors: runs[run].tensors(), settings, scale: law.scale, shift: law.shift });
    },
    data({ count }) {
      const { scale, shift } = runs[0].law;
      const points = runs[0].draw(count).map((v, i) => v / scale + shift[i % 2]);
      place.postMessage({ kind: "data", points });
    },
  };
  place.onmessage = ({ data }) => {
    try {
      answers[data.kind](data);
    } catch (error) {
      going = false;
      place.postMessage({ kind: "broken", words: error.message });
    }
  };
}
