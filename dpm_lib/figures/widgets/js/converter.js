// A schedule, typed, pasted or named, under all the names that its levels have; and at one level, what predictions are.

import { clamp, controls, html, keys, openFigure, renew, svg, title } from "./common.js";
import { openPlot, power, scales, sharesAt } from "./plot.js";
import { live } from "./view.js";

// --- Numbers in a text. ---

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const INFINITE = /^([+-]?)(inf|infinity|∞)$/i;

function numberOf(word) {
  const plain = word.replace("−", "-");
  const [infinite, sign] = plain.match(INFINITE) ?? [];
  if (infinite) return sign === "-" ? -Infinity : Infinity;
  return NUMBER.test(plain) ? Number(plain) : NaN;
}

/** The numbers of a text, between commas, blanks, lines or brackets, and where each stands: [{ word, value, start }]. */
export const numbersIn = (text) =>
  Array.from(text.matchAll(/[^\s,;[\]()]+/g), (found) => ({
    word: found[0],
    value: numberOf(found[0]),
    start: found.index,
  }));

// --- Names of a level: each from log tau, u, and into it, as in dpm_lib.diffusion.noise_levels. ---

const { log, log1p, exp, expm1, sqrt } = Math;

/** log(1 + e^u). */
const softplus = (u) => (u > 0 ? u + log1p(exp(-u)) : log1p(exp(u)));
const sigmoid = (u) => 1 / (1 + exp(-u));
const both = (v) => log1p(-v) + log1p(v);
const ALL = [-Infinity, Infinity];

export const LEVELS = {
  alpha_bar: {
    words: "ᾱ",
    about: "signal's variance left: ᾱ in DDPM, α in DDIM, α² in VDM",
    range: [0, 1],
    read: (v) => log1p(-v) - log(v),
    write: (u) => exp(-softplus(u)),
  },
  signal: {
    words: "√ᾱ",
    about: "factor on the data: α in VDM and DPM-Solver",
    range: [0, 1],
    read: (v) => both(v) - 2 * log(v),
    write: (u) => exp(-0.5 * softplus(u)),
  },
  noise: {
    words: "σ (VP) = √(1 − ᾱ)",
    about: "factor on the noise: σ in VDM and DPM-Solver",
    range: [0, 1],
    read: (v) => 2 * log(v) - both(v),
    write: (u) => exp(-0.5 * softplus(-u)),
  },
  tau: {
    words: "τ = lecture's t",
    about: "variance of the noise, signal not shrunk; 1/SNR",
    range: [0, Infinity],
    read: log,
    write: exp,
  },
  snr: {
    words: "SNR",
    about: "ratio of variances, ᾱ/(1 − ᾱ)",
    range: [0, Infinity],
    read: (v) => -log(v),
    write: (u) => exp(-u),
  },
  log_snr: { words: "log SNR", about: "natural logarithm", range: ALL, read: (v) => -v, write: (u) => -u },
  gamma: { words: "γ = −log SNR", about: "γ in VDM; log τ", range: ALL, read: (v) => v, write: (u) => u },
  lambda: { words: "λ = ½ log SNR", about: "λ in DPM-Solver", range: ALL, read: (v) => -2 * v, write: (u) => -0.5 * u },
  sigma: {
    words: "σ (VE, EDM) = √τ",
    about: "standard deviation of the noise, signal not shrunk",
    range: [0, Infinity],
    read: (v) => 2 * log(v),
    write: (u) => exp(0.5 * u),
  },
  flow: {
    words: "flow time, data at 0",
    about: "σ/(1 + σ): s in this book, t in rectified flows of images",
    range: [0, 1],
    read: (v) => 2 * (log(v) - log1p(-v)),
    write: (u) => sigmoid(0.5 * u),
  },
  flow_back: {
    words: "flow time, data at 1",
    about: "1/(1 + σ): t in flow matching, rectified flow, interpolants",
    range: [0, 1],
    read: (v) => 2 * (log1p(-v) - log(v)),
    write: (u) => sigmoid(-0.5 * u),
  },
};
const BETA = { words: "β", about: "what the step takes of the signal's variance; 1 − α in DDPM", range: [0, 1] };
export const NAMES = { beta: BETA, ...LEVELS };

/** The numbers of a name, of levels u = log tau that rise. */
export function write(name, levels) {
  if (name !== "beta") return levels.map(LEVELS[name].write);
  const logs = levels.map((u) => -softplus(u));
  return logs.map((v, k) => -expm1(v - (k ? logs[k - 1] : 0)));
}

const fault = (k, why) => ({ fault: { k, why } });
const bound = (v) => (v === Infinity ? "infinity" : v === -Infinity ? "minus infinity" : v);

function ofRates(values) {
  let left = 0;
  for (const [k, beta] of values.entries()) {
    if (k && beta === 0) return fault(k, "only the first may be 0, which says that this level has no noise");
    if (beta === 1 && k < values.length - 1) return fault(k, "only the last may be 1: nothing is left after it");
  }
  return values.map((beta) => {
    left += log1p(-beta);
    return log(-expm1(left)) - left;
  });
}

/**
 * { levels, turned }: log tau, rising, of the numbers of a name, in either order; or { fault: { k, why } }, the first number
 * that is wrong. Betas stand in the order of their steps, from the data on.
 */
export function read(name, values) {
  const [low, high] = NAMES[name].range;
  const odd = values.findIndex((v) => Number.isNaN(v));
  if (odd >= 0) return fault(odd, "is no number");
  const outside = values.findIndex((v) => !(v >= low && v <= high));
  if (outside >= 0) return fault(outside, `need numbers from ${bound(low)} to ${bound(high)}`);
  const levels = name === "beta" ? ofRates(values) : values.map(LEVELS[name].read);
  if (levels.fault) return levels;
  const turned = name !== "beta" && levels.at(-1) < levels[0];
  const stuck = levels.findIndex((u, k) => k && !(turned ? u < levels[k - 1] : u > levels[k - 1]));
  if (stuck >= 0) {
    if (name === "beta") return fault(stuck, "too small: it takes nothing that 64 bits can hold");
    const [way, first, last] = [values.at(-1) < values[0] ? "falls" : "rises", values[0], values.at(-1)];
    return fault(stuck, `comes after ${values[stuck - 1]}, but the list ${way}, from ${first} to ${last}`);
  }
  return { levels: turned ? levels.reverse() : levels, turned };
}

// --- Named schedules: what they are even in, and what their numbers are. ---

const places = (T, low, high) => Array.from({ length: T }, (_, i) => low + ((high - low) * i) / (T - 1));
const along = (T, at) => Array.from({ length: T }, (_, i) => at(i + 1));

export const SCHEDULES = {
  "DDPM, linear": (T) => ["beta", places(T, 1e-4, 0.02)],
  "cosine, as published": (T) => {
    const left = Array.from({ length: T + 1 }, (_, t) => Math.cos(((t / T + 0.008) / 1.008) * (Math.PI / 2)) ** 2);
    return ["beta", along(T, (t) => Math.min(0.999, 1 - left[t] / left[t - 1]))];
  },
  "Stable Diffusion, scaled linear": (T) => ["beta", places(T, sqrt(0.00085), sqrt(0.012)).map((v) => v * v)],
  "EDM, Karras": (T) => ["sigma", places(T, 0.002 ** (1 / 7), 80 ** (1 / 7)).map((v) => v ** 7)],
  "2015 paper's for bits": (T) => ["beta", along(T, (t) => 1 / (T - t + 1))],
  geometric: (T) => ["tau", places(T, log(1e-4) - log1p(-1e-4), log(400)).map(exp)],
  "straight path (rectified flow)": (T) => ["flow", along(T, (t) => t / T)],
};

// --- Predictions: target = P x_t + Q source. ---

export const PREDICTIONS = { x0: "x₀", epsilon: "ε", v: "v", score: "score", flow: "velocity u = ε − x₀" };
const SIGNS = { x0: "x₀", epsilon: "ε", v: "v", score: "S", flow: "u" };

/** (p, q) of y = p x_0 + q eps, of the factors a and s of data and noise. */
const PARTS = {
  x0: () => [1, 0],
  epsilon: () => [0, 1],
  v: (a, s) => [-s, a],
  score: (_, s) => [0, -1 / s],
  flow: () => [-1, 1],
};

export function conversion(u, source, target) {
  const [a, s] = [LEVELS.signal.write(u), LEVELS.noise.write(u)];
  const [[p, q], [otherP, otherQ]] = [PARTS[source](a, s), PARTS[target](a, s)];
  const turn = a * q - s * p;
  return [(otherP * q - otherQ * p) / turn, (a * otherQ - s * otherP) / turn];
}

/** The same in words: a = √ᾱ, s = √(1 − ᾱ), S the score, u the velocity. */
export const FORMULAS = {
  x0: { epsilon: "(xₜ − a·x₀)/s", v: "(a·xₜ − x₀)/s", score: "(a·x₀ − xₜ)/s²", flow: "(xₜ − (a + s)·x₀)/s" },
  epsilon: { x0: "(xₜ − s·ε)/a", v: "(ε − s·xₜ)/a", score: "−ε/s", flow: "((a + s)·ε − xₜ)/a" },
  v: { x0: "a·xₜ − s·v", epsilon: "s·xₜ + a·v", score: "−xₜ − a·v/s", flow: "(s − a)·xₜ + (a + s)·v" },
  score: { x0: "(xₜ + s²·S)/a", epsilon: "−s·S", v: "−s·(xₜ + S)/a", flow: "−(xₜ + s·(a + s)·S)/a" },
  flow: {
    x0: "(xₜ − s·u)/(a + s)",
    epsilon: "(xₜ + a·u)/(a + s)",
    v: "((a − s)·xₜ + u)/(a + s)",
    score: "−(xₜ + a·u)/(s·(a + s))",
  },
};

// --- Words. ---

const ends = (v) => (v === Infinity ? "∞" : v === -Infinity ? "−∞" : null);

const plain = (v) => (v !== 0 && Math.abs(v) < 1e-3 ? v.toExponential() : String(v)).replace("e+", "e");

/** Six digits, with a power of ten for small and large numbers. */
export function shown(v) {
  if (Number.isNaN(v)) return "–";
  const [digits, exponent] = (ends(v) ?? plain(Number(v.toPrecision(6)))).split("e");
  return (exponent ? `${digits} × ${power(Number(exponent))}` : digits).replace("-", "−");
}

function inWords([P, Q], source) {
  if (!Number.isFinite(P) || !Number.isFinite(Q)) return "not told at this level";
  const parts = [
    [P, "xₜ"],
    [Q, SIGNS[source]],
  ].filter(([v]) => v !== 0);
  return parts
    .map(([v, sign], k) => `${k ? (v < 0 ? " − " : " + ") : v < 0 ? "−" : ""}${shown(Math.abs(v))} ${sign}`)
    .join("");
}

// --- All levels, to take away. ---

const COLUMNS = Object.keys(NAMES);

/** The rows of all levels, from the data on or from the noise: { k, from_noise, beta, ... }. */
export function rowsOf(levels, fromNoise = false) {
  const columns = COLUMNS.map((name) => write(name, levels));
  const rows = levels.map((_, i) => ({
    k: i + 1,
    from_noise: levels.length - i,
    ...Object.fromEntries(COLUMNS.map((name, c) => [name, columns[c][i]])),
  }));
  return fromNoise ? rows.reverse() : rows;
}

const number = (v, infinite) => (Number.isFinite(v) ? String(v) : v > 0 ? infinite : `-${infinite}`);

export const FORMATS = {
  CSV: (rows) =>
    [["k", "from_noise", ...COLUMNS], ...rows.map((row) => Object.values(row).map((v) => number(v, "inf")))]
      .map((row) => row.join(","))
      .join("\n"),
  JSON: (rows) => JSON.stringify(rows, (_, v) => (v === Infinity ? "inf" : v === -Infinity ? "-inf" : v), 1),
  "Python lists": (rows) =>
    Object.keys(rows[0])
      .map(
        (name) =>
          `${name === "lambda" ? "lambda_" : name} = [${rows.map((row) => number(row[name], 'float("inf")')).join(", ")}]`,
      )
      .join("\n"),
};

// --- The figure. ---

const MARGINS = { left: 46, right: 12, top: 10, bottom: 20 };
const CURVES = { data: "snr", model: "sigma", drift: "beta", limit: "alpha_bar" };
const MOST_ROWS = 21; // of the table of all levels; what is taken away has all

/** Indices of at most `most` levels, evenly, with `chosen`. */
export function sample(count, most, chosen) {
  if (count <= most) return Array.from({ length: count }, (_, i) => i);
  const some = Array.from({ length: most }, (_, i) => Math.round((i * (count - 1)) / (most - 1)));
  return [...new Set([...some, chosen])].sort((a, b) => a - b);
}

const cells = (kind, values, attributes = {}) => values.map((v) => html(kind, attributes, v));

function tableOf(caption, heads, body, kind = "") {
  const top = html("thead", {}, html("tr", {}, ...cells("th", heads, { scope: "col" })));
  const table = html("table", { class: `dpm-converted ${kind}` }, html("caption", {}, caption), top, body);
  return html("div", { class: "dpm-scroll", tabindex: 0, role: "region", "aria-label": caption }, table);
}

const row = (head, ...values) => html("tr", {}, html("th", { scope: "row" }, head), ...cells("td", values));

function render({ model, el }) {
  const figure = openFigure(model, el, "converter");
  const { root } = figure;
  const start = model.get("start");
  let { name, T, quantity, source } = start;
  let [levels, chosen, fromNoise, faulty] = [[], 0, false, null];

  const text = html("textarea", { rows: 4, spellcheck: "false", autocomplete: "off", input: own });
  const told = html("span");
  const goTo = html("button", { type: "button", click: showFault }, "Show it");
  const status = html("p", { class: "dpm-detail dpm-told", role: "status" }, told);
  const plot = openPlot(figure, "dpm-levels", "SNR, sigma, beta and alpha bar of each level, on a log axis");
  const atLevel = html("tbody");
  const predicted = html("tbody");
  const all = html("tbody");
  const taken = html("textarea", { rows: 3, readonly: true, "aria-label": "All levels, to copy" });
  const place = html("div");
  const copied = html("p", { class: "dpm-detail", role: "status" });

  function fill() {
    const [own, values] = SCHEDULES[name](T);
    const numbers = own === quantity ? values : write(quantity, read(own, values).levels);
    text.value = numbers.map((v) => number(v, "inf")).join(", ");
    understand();
  }
  function own() {
    preset.select.value = "your own";
    understand();
  }
  /** Takes the numbers of the text if they are good; if not, says which is wrong, and keeps the levels that it had. */
  function understand() {
    const found = numbersIn(text.value);
    const result = read(
      quantity,
      found.map(({ value }) => value),
    );
    faulty = result.fault ? found[result.fault.k] : null;
    if (!found.length) told.textContent = "Type numbers, or choose a schedule. Below stands the last good one.";
    else if (faulty) {
      const { k, why } = result.fault;
      told.textContent = `Number ${k + 1} of ${found.length}, ${faulty.word}: ${why}. Below stands the last good schedule. `;
    } else {
      const last = levels.length - 1;
      const kept = last > 0 ? chosen / last : 0.5;
      levels = result.levels;
      chosen = Math.round(kept * (levels.length - 1));
      const turned = result.turned ? " They came from the noise on, and were turned." : "";
      const bare = levels.at(-1) === Infinity ? " The last has no signal: SNR 0." : "";
      told.textContent = `${levels.length} levels, SNR from ${shown(exp(-levels[0]))} to ${shown(exp(-levels.at(-1)))}.${turned}${bare}`;
    }
    status.replaceChildren(told, ...(faulty ? [goTo] : []));
    text.setAttribute("aria-invalid", String(!found.length || Boolean(faulty)));
    level.range.max = levels.length;
    level.set(chosen + 1);
    figure.redraw();
  }
  function showFault() {
    text.focus();
    text.setSelectionRange(faulty.start, faulty.start + faulty.word.length);
  }

  const preset = figure.presetChooser({
    label: "Schedule",
    names: Object.keys(SCHEDULES),
    value: name,
    set: (next) => (name = next),
    after: fill,
  });
  const isOwn = () => preset.select.value === "your own";
  const steps = figure.slider({
    label: "How many",
    min: 2,
    max: 1000,
    value: T,
    set: (next) => (T = next),
    after: () => {
      if (isOwn()) preset.select.value = name;
      fill();
    },
  });
  const kind = figure.chooser({
    label: "The numbers are",
    options: Object.entries(NAMES).map(([key, { words }]) => [key, words]),
    value: quantity,
    set: (next) => (quantity = next),
    after: () => (isOwn() ? understand() : fill()),
  });
  const level = figure.slider({
    label: "Level",
    min: 1,
    max: T,
    value: 1,
    wide: true,
    format: (k) => `${k} of ${levels.length}`,
    set: (k) => (chosen = k - 1),
  });
  const says = figure.chooser({
    label: "A network says",
    options: Object.entries(PREDICTIONS),
    value: source,
    set: (next) => (source = next),
  });
  const order = figure.chooser({
    label: "Time runs",
    options: [
      ["data", "from data to noise"],
      ["noise", "from noise to data"],
    ],
    value: "data",
    set: (next) => (fromNoise = next === "noise"),
  });
  const format = figure.chooser({ label: "as", options: Object.keys(FORMATS), value: "CSV", set: () => {} });
  const copy = html("button", { type: "button", click: take }, "Copy all levels");

  async function take() {
    taken.value = FORMATS[format.select.value](rowsOf(levels, fromNoise));
    place.replaceChildren(taken);
    taken.select();
    let done = true;
    await navigator.clipboard.writeText(taken.value).catch(() => (done = false));
    copied.textContent = done ? `Copied ${levels.length} levels.` : "The text is selected: copy it by keys.";
  }
  /** Where an index stands across the plot: by time's direction. */
  const across = (i) => (fromNoise ? levels.length - i : i + 1);
  plot.addEventListener("pointerdown", (event) => {
    const at = Math.round(1 + sharesAt(event, plot, MARGINS).x * (levels.length - 1));
    chosen = clamp(across(clamp(at, 1, levels.length) - 1) - 1, 0, levels.length - 1);
    level.set(chosen + 1);
    figure.redraw();
  });

  function drawPlot(shownAt) {
    const curves = Object.entries(CURVES).map(([ink, key]) => [ink, write(key, levels)]);
    const finite = curves.flatMap(([, values]) => values.filter((v) => v > 0 && v < Infinity));
    const lowest = Math.max(-8, Math.floor(Math.log10(Math.min(...finite, 0.1))));
    const highest = Math.min(8, Math.ceil(Math.log10(Math.max(...finite, 10))));
    const axes = scales(plot, MARGINS, [1, Math.max(2, levels.length)], [10 ** lowest, 10 ** highest], {
      log: "y",
      held: "y",
    });
    const apart = Math.ceil((highest - lowest) / 6);
    const rows = [];
    for (let k = lowest; k <= highest; k += apart) rows.push(10 ** k);
    renew(
      plot,
      ...axes.rows(rows, (v) => power(Math.round(Math.log10(v)))),
      axes.axis(),
      ...axes.marks(
        [1, Math.max(2, levels.length)],
        (k) => (k === 1 ? (fromNoise ? "noise" : "data") : fromNoise ? "data" : "noise"),
        (k) => (k === 1 ? "start" : "end"),
      ),
      ...curves.map(([ink, values]) =>
        svg(
          "g",
          { class: `dpm-ink-${ink}` },
          axes.curve("dpm-law", shownAt, (i) => [across(i), clamp(values[i], 1e-300, 1e300)]),
        ),
      ),
      axes.upright(across(chosen), "dpm-here"),
    );
  }

  figure.draw = () => {
    if (!levels.length) return;
    drawPlot(sample(levels.length, 400, chosen));
    const u = levels[chosen];
    const values = Object.fromEntries(COLUMNS.map((key) => [key, write(key, levels)]));
    renew(
      atLevel,
      row("level", `${chosen + 1} from data, ${levels.length - chosen} from noise`, "k = 1 is next to the data"),
      ...COLUMNS.map((key) => row(NAMES[key].words, shown(values[key][chosen]), NAMES[key].about)),
    );
    const targets = Object.keys(PREDICTIONS).filter((target) => target !== source);
    renew(
      predicted,
      ...targets.map((target) =>
        row(PREDICTIONS[target], FORMULAS[source][target], inWords(conversion(u, source, target), source)),
      ),
    );
    const some = sample(levels.length, MOST_ROWS, chosen);
    if (fromNoise) some.reverse();
    renew(
      all,
      ...some.map((i) => {
        const line = row(String(i + 1), String(levels.length - i), ...COLUMNS.map((key) => shown(values[key][i])));
        if (i === chosen) line.setAttribute("aria-current", "true");
        return line;
      }),
    );
    Object.assign(root.dataset, { levels: levels.length, chosen: chosen + 1, u, order: fromNoise ? "noise" : "data" });
  };

  const words = Object.fromEntries(Object.entries(CURVES).map(([ink, key]) => [ink, NAMES[key].words]));
  figure.add(
    controls(preset, steps, kind),
    html(
      "label",
      { class: "dpm-text" },
      html("span", {}, "Numbers: type or paste, apart by commas, blanks or lines"),
      text,
    ),
    status,
    title("The schedule", " log axis; a click chooses a level"),
    plot,
    keys(words),
    controls(level, order),
    tableOf("At this level", ["Name", "Value", "What, and in which papers"], atLevel, "dpm-at-level"),
    controls(says),
    tableOf("From one prediction, the others", ["Prediction", "Formula", "At this level"], predicted),
    html("p", { class: "dpm-detail" }, "a = √ᾱ, s = √(1 − ᾱ), S the score of xₜ, u the velocity of the straight path."),
    tableOf("All levels, or 21 of them", ["k", "from noise", ...COLUMNS.map((key) => NAMES[key].words)], all),
    controls(copy, format),
    place,
    copied,
  );
  fill();
  return figure.close;
}

export default live(render);
