// A training run in the page: what dpm_lib.training.trainer does in a step, and how good the averaged weights are.

import { fillNormals, uniforms } from "./common.js";
import {
  boundEnds,
  bridge,
  evenSteps,
  openSchedule,
  outputsOf,
  readFactor,
  stepKL,
  timesOf,
} from "./training_bound.js";
import { drawFromLaw, logDensity, openLaw, whyNot } from "./training_law.js";
import { openNetwork } from "./training_network.js";

/** The settings of the recipe swiss-roll, by the names that a recipe has. */
export function recipeSettings() {
  return {
    ...{ T: 40, beta_1: 1e-6, tau_T: 20, learn_schedule: true, covariance: "full", objective: "bound" },
    ...{ width: 64, depth: 3, frequencies: 16, scale: 4, steps: 4000, batch: 1024, lr: 0.01, ema: 0.999 },
  };
}

/** Why a drawing cannot be trained on, in words; null where it can. */
export function refused(drawing) {
  return whyNot(drawing);
}

/** log q at points (n, 2), nats. */
export function logOf(law, points) {
  return logDensity(law, points);
}

/** Linear warm-up, then half a cosine to zero; `step` counts from 0. */
export function learningRate({ lr, steps }, step) {
  return lr * Math.min(1, (step + 1) / 100) * 0.5 * (1 + Math.cos((Math.PI * step) / steps));
}

/** A step of Adam as torch's, in place; `step` counts from 1. */
export function adam(values, slopes, state, rate, step) {
  const [first, second] = [0.9, 0.99];
  const size = rate / (1 - first ** step);
  const root = Math.sqrt(1 - second ** step);
  const { mean, square } = state;
  for (let i = 0; i < values.length; i++) {
    const slope = slopes[i];
    mean[i] += (1 - first) * (slope - mean[i]);
    square[i] += (1 - second) * (slope * slope - square[i]);
    values[i] -= (size * mean[i]) / (Math.sqrt(square[i]) / root + 1e-8);
  }
}

/** Moves `average` towards `values` after `step` steps: at first over few of them. */
export function average(averaged, values, decay, step) {
  const share = 1 - Math.min(decay, step / (step + 9));
  for (let i = 0; i < values.length; i++) averaged[i] += share * (values[i] - averaged[i]);
}

/**
 * A run on the law of a drawing (training_law.js). `settings` as of recipeSettings; `kept`, what `keep` of another run
 * gave, is gone on from, as far as it fits.
 */
export function openRun({ drawing, settings, seed = 0, wasm = true, kept = null }) {
  const law = openLaw(drawing);
  const { T, covariance, objective, batch, width, depth, frequencies } = settings;
  const shape = { dim: 2, outputs: outputsOf(covariance), width, depth, frequencies };
  const network = openNetwork(shape, { wasm });
  const uniform = uniforms(seed);
  const normals = (count) => fillNormals(new Float64Array(count), uniform);
  const { weights, slopes, x, phases, out, wide, rows } = network;
  const theta = evenSteps(T, settings.beta_1, settings.tau_T);
  const thetaSlopes = new Float64Array(T + 1);
  network.reset(() => normals(2)[0], settings.scale);
  const carried = [];
  if (kept) {
    if (kept.shape.width === width && kept.shape.depth === depth && kept.shape.frequencies === frequencies) {
      network.fill(kept.tensors);
      carried.push("weights");
    }
    if (settings.learn_schedule && kept.theta.length === T + 1) {
      theta.set(kept.theta);
      carried.push("schedule");
    }
  }
  const zeros = (like) => ({ mean: new like.constructor(like.length), square: new like.constructor(like.length) });
  const states = [zeros(weights), zeros(theta)];
  const averages = [weights.slice(), theta.slice()];
  let schedule = openSchedule(T, settings.beta_1, theta);
  const ownTimes = objective === "bound" ? null : timesOf(objective, schedule);
  let step = 0;

  const told = (t) => Math.min(schedule.logTau[t], 20);
  const factor = new Float64Array(3);
  const slope = new Float64Array(6);

  /** Loss and K, nats, of rows x0 (n, 2) with times (n,) and noise (n, 2); their slopes are left in the network's, `thetaSlopes`. */
  function gradients(x0, times, noise) {
    const n = times.length;
    const { logTau, gap, signal, noise: noises, factor: factors } = schedule;
    const learned = settings.learn_schedule;
    const [byLevel, byGap] = [new Float64Array(T + 1), new Float64Array(T + 1)];
    slopes.fill(0);
    network.turn();
    let [K, loss] = [0, 0];
    for (let from = 0; from < n; from += rows) {
      const size = Math.min(rows, n - from);
      for (let i = 0; i < size; i++) {
        const [row, t] = [from + i, times[from + i]];
        x[2 * i] = signal[t] * x0[2 * row] + noises[t] * noise[2 * row];
        x[2 * i + 1] = signal[t] * x0[2 * row + 1] + noises[t] * noise[2 * row + 1];
        phases[i] = told(t);
      }
      network.forward(size);
      for (let i = 0; i < size; i++) {
        const [row, t, at] = [from + i, times[from + i], i * wide];
        const [a, s, k] = [signal[t], noises[t], factors[t]];
        const w0 = s * x0[2 * row] - a * noise[2 * row] - out[at];
        const w1 = s * x0[2 * row + 1] - a * noise[2 * row + 1] - out[at + 1];
        readFactor(covariance, out, at, factor);
        const kl = stepKL(k, w0, w1, factor, slope);
        const square = x0[2 * row] ** 2 + x0[2 * row + 1] ** 2;
        const ends = boundEnds(schedule, square);
        out.fill(0, at, at + wide);
        if (ownTimes) {
          const weight = ownTimes.weight[t] * s * s;
          K += ends - kl / ownTimes.probability[t];
          loss += weight * (w0 * w0 + w1 * w1);
          out[at] = (-2 * weight * w0) / n;
          out[at + 1] = (-2 * weight * w1) / n;
          continue;
        }
        K += ends - (T - 1) * kl;
        const each = (T - 1) / n;
        out[at] = -each * slope[0];
        out[at + 1] = -each * slope[1];
        if (covariance === "isotropic") out[at + 2] = each * (slope[3] + slope[5]) * factor[0];
        else if (covariance === "diagonal" || covariance === "full") {
          out[at + 2] = each * slope[3] * factor[0];
          out[at + 3] = each * slope[5] * factor[2];
          if (covariance === "full") out[at + 4] = each * slope[4];
        }
        if (learned) {
          const bySignal = -(slope[0] * noise[2 * row] + slope[1] * noise[2 * row + 1]);
          const byNoise = slope[0] * x0[2 * row] + slope[1] * x0[2 * row + 1];
          byLevel[t] += each * (0.5 * a * s * (a * byNoise - s * bySignal) - slope[2] * k * s * s);
          byGap[t] += each * slope[2] * a * a * Math.exp(gap[t]);
          const [aT, sT] = [signal[T], noises[T]];
          byLevel[T] -= ((0.5 * (square - 2) * sT * sT + 1) * aT * aT) / n;
        }
      }
      network.backward(size);
      for (let i = 0; learned && i < size; i++) {
        const [row, t] = [from + i, times[from + i]];
        const [a, s] = [signal[t], noises[t]];
        const bySignal = x[2 * i] * x0[2 * row] + x[2 * i + 1] * x0[2 * row + 1];
        const byNoise = x[2 * i] * noise[2 * row] + x[2 * i + 1] * noise[2 * row + 1];
        byLevel[t] += 0.5 * a * s * (a * byNoise - s * bySignal) + (logTau[t] < 20 ? phases[i] : 0);
      }
    }
    if (learned) {
      let later = 0;
      for (let t = T; t >= 2; t--) {
        later += byLevel[t];
        thetaSlopes[t] = gap[t] * (later + byGap[t]);
      }
    }
    return { K: K / n, loss: ownTimes ? loss / n : -K / n };
  }

  /** Times of a batch, spread as the objective draws them, with one shift. */
  function drawTimes(n) {
    const shift = uniform();
    const times = new Int32Array(n);
    let [t, below] = [2, ownTimes ? ownTimes.probability[2] : 0];
    for (let i = 0; i < n; i++) {
      const place = (i + shift) / n;
      if (!ownTimes) times[i] = 2 + Math.floor(place * (T - 1));
      else {
        while (t < T && below <= place) below += ownTimes.probability[++t];
        times[i] = t;
      }
    }
    return times;
  }

  function advance() {
    const found = gradients(drawFromLaw(law, batch, uniform), drawTimes(batch), normals(2 * batch));
    if (!Number.isFinite(found.K + found.loss)) throw new Error(`step ${step + 1}: K is ${found.K}`);
    update();
    return found;
  }
  /** A step of Adam by the slopes that are there, and of the average. */
  function update() {
    const rate = learningRate(settings, step);
    step++;
    adam(weights, slopes, states[0], rate, step);
    average(averages[0], weights, settings.ema, step);
    if (settings.learn_schedule) {
      adam(theta, thetaSlopes, states[1], rate, step);
      average(averages[1], theta, settings.ema, step);
      schedule = openSchedule(T, settings.beta_1, theta);
    }
  }

  /** What `work` makes with the averaged weights. */
  function averaged(work) {
    const now = [weights.slice(), schedule];
    weights.set(averages[0]);
    schedule = openSchedule(T, settings.beta_1, averages[1]);
    try {
      return work();
    } finally {
      weights.set(now[0]);
      schedule = now[1];
    }
  }
  /** Calls `use(i, at)` for each of `count` points, (2,) each, at time t, when the network has answered at out[at...]. */
  function ask(points, t, use) {
    const count = points.length / 2;
    for (let from = 0; from < count; from += rows) {
      const size = Math.min(rows, count - from);
      x.set(points.subarray(2 * from, 2 * (from + size)));
      phases.fill(told(t), 0, size);
      network.forward(size);
      for (let i = 0; i < size; i++) use(from + i, i * wide);
    }
  }
  /**
   * K of the averaged weights on n new points, nats: all T terms of each, and the mean divergence of each step, `kl` (T+1,).
   * log q is known at the same points, so that `gap`, the mean of log q(x_0) - K(x_0), has a small standard error, and with
   * it K = -H(X_0) - gap.
   */
  function look(n, draw = uniform) {
    return averaged(() => {
      const x0 = drawFromLaw(law, n, draw);
      const lost = new Float64Array(n);
      const kl = new Float64Array(T + 1);
      const exact = logDensity(law, x0);
      for (let t = 2; t <= T; t++) {
        const { signal, noise, factor: factors } = schedule;
        const eps = fillNormals(new Float64Array(2 * n), draw);
        ask(
          eps.map((e, i) => signal[t] * x0[i] + noise[t] * e),
          t,
          (i, at) => {
            const w = (d) => noise[t] * x0[2 * i + d] - signal[t] * eps[2 * i + d] - out[at + d];
            readFactor(covariance, out, at, factor);
            const one = stepKL(factors[t], w(0), w(1), factor, slope);
            lost[i] += one;
            kl[t] += one / n;
          },
        );
      }
      const gaps = lost.map((sum, i) => exact[i] - boundEnds(schedule, x0[2 * i] ** 2 + x0[2 * i + 1] ** 2) + sum);
      const gap = gaps.reduce((sum, v) => sum + v, 0) / n;
      const variance = gaps.reduce((sum, v) => sum + (v - gap) ** 2, 0) / (n - 1);
      return { K: -law.entropy - gap, gap, error: Math.sqrt(variance / n), kl };
    });
  }
  /** E[x_{t-1} | x_t], of points, and a factor of the covariance: calls `use(i, mean0, mean1, l00, l10, l11)`. */
  function back(points, t, use) {
    if (t === 1) {
      const [a, s] = [schedule.signal[1], schedule.noise[1]];
      for (let i = 0; i < points.length / 2; i++) use(i, a * points[2 * i], a * points[2 * i + 1], s, 0, s);
      return;
    }
    const { a, b, v } = bridge(schedule, t);
    const [signal, noise] = [schedule.signal[t], schedule.noise[t]];
    ask(points, t, (i, at) => {
      const mean = (d) => a * points[2 * i + d] + b * (signal * points[2 * i + d] + noise * out[at + d]);
      readFactor(covariance, out, at, factor);
      const [l0, l1, l2] = factor.map((f) => b * noise * f);
      const c0 = Math.sqrt(v + l0 * l0);
      const c1 = (l0 * l1) / c0;
      use(i, mean(0), mean(1), c0, c1, Math.sqrt(v + l1 * l1 + l2 * l2 - c1 * c1));
    });
  }
  /** n whole ways back, (T+1, n, 2): row T is noise, row 0 the draws. */
  function sample(n, draw = uniform) {
    return averaged(() => {
      const path = new Float32Array((T + 1) * 2 * n);
      let now = fillNormals(new Float64Array(2 * n), draw);
      path.set(now, T * 2 * n);
      for (let t = T; t >= 1; t--) {
        const z = fillNormals(new Float64Array(2 * n), draw);
        const next = new Float64Array(2 * n);
        back(now, t, (i, m0, m1, c0, c1, c2) => {
          next[2 * i] = m0 + c0 * z[2 * i];
          next[2 * i + 1] = m1 + c1 * z[2 * i] + c2 * z[2 * i + 1];
        });
        now = next;
        path.set(now, (t - 1) * 2 * n);
      }
      return path;
    });
  }
  /** E[x_{t-1} | x_t] - x_t at points, (n, 2). */
  function drift(points, t) {
    return averaged(() => {
      const found = new Float64Array(points.length);
      back(points, t, (i, m0, m1) => found.set([m0 - points[2 * i], m1 - points[2 * i + 1]], 2 * i));
      return found;
    });
  }
  /** The averaged weights, as dpm_lib names and lays them out: { name: { shape, values } }. */
  function tensors() {
    const named = Object.entries(network.named(averages[0])).map(([name, value]) => [`reverse.network.${name}`, value]);
    const { logTau, logAlpha } = openSchedule(T, settings.beta_1, evenSteps(T, settings.beta_1, settings.tau_T));
    const own = { "kernel.schedule._log_alpha_bar": { shape: [T + 1], values: logAlpha } };
    if (settings.learn_schedule) {
      own["kernel.schedule._log_tau_1"] = { shape: [1], values: logTau.slice(1, 2) };
      own["kernel.schedule.log_increments"] = { shape: [T - 1], values: averages[1].slice(2) };
    }
    return { ...own, ...Object.fromEntries(named) };
  }
  /** What another run may go on from. */
  const keep = () => ({
    shape,
    theta: averages[1].slice(),
    tensors: Object.fromEntries(Object.entries(network.named(averages[0])).map(([name, { values }]) => [name, values])),
  });
  return {
    ...{
      law,
      settings,
      network,
      theta,
      thetaSlopes,
      carried,
      gradients,
      advance,
      update,
      look,
      sample,
      drift,
      tensors,
      keep,
    },
    draw: (n, from = uniform) => drawFromLaw(law, n, from),
    step: () => step,
    rate: () => learningRate(settings, step),
    levels: () => openSchedule(T, settings.beta_1, averages[1]),
  };
}
