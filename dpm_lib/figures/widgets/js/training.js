// Train it here: choose or draw a distribution, train the book's model on it, and watch K beside its exact limit.

import { button, clamp, cleared, controls, html, isCalm, keys, openFigure, svg, title } from "./common.js";
import { fixed, inBits, openPlot, scales, text } from "./plot.js";
import { modelRecord, npy, readState, safetensors, simplified, stateText } from "./training_files.js";
import { recipeSettings, refused } from "./training_run.js";
import { workerText } from "./training_worker.js";

const EXTENT = 16; // half the side of the drawing, in its units
const MARGINS = { left: 46, right: 12, top: 10, bottom: 20 };
const KINDS = [
  ["roll", "swiss roll"],
  ["moons", "two moons"],
  ["clumps", "eight clumps"],
  ["k", "letter K"],
  ["s", "letter S"],
  ["drawn", "your own drawing"],
];
const BLURS = { roll: 0.25, moons: 0.8, clumps: 0.8, k: 0.6, s: 0.6, drawn: 0.6 };
const OBJECTIVES = [
  ["bound", "the bound K"],
  ["simple", "L_simple (DDPM)"],
  ["flow", "flow matching"],
];
const COVARIANCES = [
  ["full", "full"],
  ["diagonal", "diagonal"],
  ["isotropic", "one number a point"],
  ["posterior", "none of its own (fixed small)"],
  ["fixed_large", "none of its own (fixed large)"],
];
/** What a second training has otherwise. */
const RIVALS = {
  none: ["nothing", {}],
  simple: ["L_simple", { objective: "simple" }],
  flow: ["flow matching", { objective: "flow" }],
  steps10: ["T = 10", { T: 10 }],
  diagonal: ["a diagonal covariance", { covariance: "diagonal" }],
  small: ["a fixed variance", { covariance: "posterior" }],
  schedule: ["a fixed schedule", { learn_schedule: false }],
  width: ["width 16", { width: 16 }],
};

const OWN_NONE = ["posterior", "fixed_large"];

/** Settings that go together: an objective that is a squared error teaches no covariance, and no schedule. */
export function fitting(settings) {
  if (settings.objective === "bound") return settings;
  const own = OWN_NONE.includes(settings.covariance);
  return { ...settings, covariance: own ? settings.covariance : "posterior", learn_schedule: false };
}

/** Settings that a figure can have; others, from an address, fall back to the recipe's. */
export function within(settings) {
  const known = recipeSettings();
  const all = { ...known, ...settings };
  const limits = { T: [5, 100], width: [8, 128], steps: [100, 20000], depth: [1, 4], batch: [128, 4096] };
  for (const [name, [low, high]] of Object.entries(limits)) {
    if (!(all[name] >= low && all[name] <= high) || all[name] % 1) all[name] = known[name];
  }
  all.width = 8 * Math.round(all.width / 8);
  if (!COVARIANCES.some(([name]) => name === all.covariance)) all.covariance = known.covariance;
  if (!OBJECTIVES.some(([name]) => name === all.objective)) all.objective = known.objective;
  const { T, width, steps, covariance, objective, learn_schedule } = all;
  return fitting({ ...known, T, width, steps, covariance, objective, learn_schedule });
}

/** What a training is, in a few words. */
export function inWords({ T, width, covariance, objective, learn_schedule }) {
  const by = OBJECTIVES.find(([name]) => name === objective)[1];
  const spread = COVARIANCES.find(([name]) => name === covariance)[1];
  return `${by}, T = ${T}, width ${width}, covariance ${spread}, schedule ${learn_schedule ? "learned" : "fixed"}`;
}

const bits = (nats, digits = 2) => fixed(inBits(nats), digits);

function render({ model, el }) {
  const figure = openFigure(model, el, "training");
  const { root } = figure;
  const start = model.get("start");
  const state = readState(location.hash, recipeSettings());
  const good = state && KINDS.some(([kind]) => kind === state.drawing.kind) && !refused(state.drawing);
  let drawing = good ? state.drawing : { kind: start.kind, noise: start.noise };
  let settings = within(good ? state.settings : start.settings);
  let rival = "none";
  let all = [settings];
  let opened = null; // what the worker said of the law
  let looks = []; // [{ step, seconds, found: [{ K, gap, error }] }]
  let [last, drifts, kept] = [null, [], null];
  let [step, spent, before, legs] = [0, 0, { step: 0, spent: 0 }, []];
  let [going, worker, seed, opening] = [false, null, 1, 0];
  let [t, chosen, shown] = [0, -1, 0]; // time, point, which training the pictures are of
  let [pen, stroke] = [[0, 0], null];
  let [at, spare] = [null, null]; // what is being trained, on what; and what was, before something else was opened
  let lastWords = 0;
  let awaited = 0; // runs that the worker was asked to open, and has not yet

  const status = html("p", { class: "dpm-detail dpm-told", role: "status" });
  const now = html("p", { class: "dpm-now" });
  const say = (words) => (status.textContent = words);
  /** Says what changes, but no more often than a listener can bear. */
  function sayNow(words, force = false) {
    now.textContent = words;
    if (!force && performance.now() - lastWords < 6000) return;
    lastWords = performance.now();
    say(words);
  }

  // --- The worker. ---

  function startWorker() {
    const address = URL.createObjectURL(new Blob([workerText()], { type: "text/javascript" }));
    worker = new Worker(address);
    URL.revokeObjectURL(address);
    awaited = 0;
    worker.onmessage = ({ data }) => {
      if (data.kind === "opened") awaited--;
      if (data.kind === "broken") awaited = 0;
      if (awaited <= 0) heard[data.kind]?.(data); // else it is of runs that were opened before
    };
    worker.onerror = (event) => {
      event.preventDefault();
      lost(event.message);
    };
  }
  /** The worker is gone: what it last told is kept, and the next Train goes on from there. */
  function lost(words) {
    worker?.terminate();
    worker = null;
    setGoing(false);
    say(
      last
        ? `The training stopped: ${words}. What was trained up to step ${before.step + last.step} is kept: Train goes on from it.`
        : `The training could not start: ${words}.`,
    );
  }
  function tell(message) {
    try {
      if (!worker) {
        startWorker();
        if (message.kind !== "open") open({ keep: Boolean(kept) });
      }
      if (message.kind === "open") awaited++;
      worker.postMessage(message);
    } catch (error) {
      lost(error.message);
    }
  }
  const trained = () => (last && before.step + last.step > 0 ? { at, kept, looks, legs, before, last } : null);
  /** Opens the runs anew: on the drawing, or, with `keep`, from the weights that there are. */
  function open({ keep = false } = {}) {
    clearTimeout(opening);
    setGoing(false);
    const why = refused(drawing);
    all = [settings, ...(rival === "none" ? [] : [within({ ...settings, ...RIVALS[rival][1] })])];
    if (shown >= all.length) whose.select.value = shown = 0;
    whosePlace.replaceChildren(...(all.length > 1 ? [whose.node] : []));
    if (keep && kept) {
      if (last) {
        before = { step: before.step + last.step, spent: before.spent + last.spent };
        legs.push(before.step);
      }
    } else {
      spare = trained() ?? spare;
      [kept, looks, legs, before] = [null, [], [], { step: 0, spent: 0 }];
      opened = null;
    }
    at = structuredClone({ drawing, settings, rival });
    bringBack.disabled = !spare;
    [last, drifts, step, spent] = [null, [], 0, 0];
    train.disabled = once.disabled = Boolean(why);
    if (why) {
      worker?.terminate(); // else it would train on, and be heard
      worker = null;
      say(why);
    } else tell({ kind: "open", drawing, all, seed: seed++, kept });
    time.range.max = settings.T;
    if (t > settings.T) time.set((t = settings.T));
    figure.redraw();
  }
  /** What was trained before the data, or what stands beside it, were changed: it goes on from there. */
  function takeSpare() {
    const old = spare;
    spare = trained();
    ({ drawing, settings, rival } = structuredClone(old.at));
    ({ kept, looks, legs, before, last } = old);
    undo = inOrder();
    [kind.select.value, beside.select.value] = [drawing.kind, rival];
    blur.set(drawing.noise);
    showSettings();
    open({ keep: true });
  }
  const openSoon = () => {
    clearTimeout(opening);
    opening = setTimeout(open, 200);
  };
  function setGoing(value) {
    going = value;
    train.textContent = going ? "Pause" : "Train";
    root.dataset.playing = going;
  }
  const course = () => `${before.step + step} steps`;
  const heard = {
    opened(message) {
      opened = message;
      const limit = `The limit of K is −H(X₀) = ${bits(-message.entropy, 3)} bits.`;
      const by = message.fast ? "" : " (Without WebAssembly's SIMD here: it trains slowly.)";
      const carried = message.carried[0];
      const parts = [
        carried.includes("weights") ? "The weights go on" : "The network begins anew",
        carried.includes("schedule") ? "with their schedule" : "with a new schedule",
      ];
      say(kept ? `${parts.join(", ")}. ${limit}` : `${limit}${by}`);
      lastWords = performance.now(); // so that the first look does not talk over it
      const { strokes = [], dots = [] } = at.drawing;
      Object.assign(root.dataset, {
        limit: -inBits(message.entropy),
        pieces: strokes.length + dots.length,
        fast: message.fast,
      });
      figure.redraw();
    },
    progress(message) {
      ({ step, spent } = message);
      root.dataset.step = before.step + step;
      now.textContent = `${course()}, ${fixed((before.spent + spent) / 1000, 1)} s of training.`;
    },
    looked(message) {
      last = message;
      ({ step, spent, drifts } = message);
      kept = message.found.map((one) => one.kept);
      looks.push({ step: before.step + step, seconds: (before.spent + spent) / 1000, found: message.found });
      if (looks.length > 400) looks = looks.filter((_, i) => i % 2 === 0 || i > 300);
      const one = message.found[0];
      sayNow(
        `${course()}, ${fixed((before.spent + spent) / 1000, 1)} s of training: K = ${bits(one.K)} ± ${bits(one.error)} bits, ` +
          `${bits(one.gap)} below the limit.`,
        message.final,
      );
      Object.assign(root.dataset, { step: before.step + step, k: inBits(one.K), gap: inBits(one.gap) });
      if (!isCalm() || !going || looks.length % 4 === 1) figure.redraw();
    },
    drifts(message) {
      drifts = message.drifts;
      figure.redraw();
    },
    done() {
      setGoing(false);
      say(`${now.textContent} The learning rate has come to zero: change a setting, or choose more steps, to go on.`);
    },
    broken({ words }) {
      setGoing(false);
      say(`It ran away: ${words}. What was trained before is kept; start again, or go on with other settings.`);
    },
    file({ tensors, settings: own, scale, shift }) {
      const record = modelRecord({ settings: own, scale, shift, drawing, step: before.step + step });
      save("in-the-page.safetensors", safetensors(tensors, record));
      say('Saved in-the-page.safetensors: dpm_lib.load_model("in-the-page.safetensors") reads it.');
    },
    data({ points }) {
      save("drawing.npy", npy(points));
      say("Saved drawing.npy: dpm train swiss-roll --set data=drawing.npy trains on it.");
    },
  };
  function save(name, bytes) {
    const address = URL.createObjectURL(new Blob([bytes]));
    const link = html("a", { href: address, download: name });
    root.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  // --- Drawing. ---

  const pad = figure.canvas("");
  Object.assign(pad, { tabIndex: 0 });
  pad.setAttribute("role", "application");
  pad.removeAttribute("aria-hidden");
  pad.setAttribute(
    "aria-label",
    "The data. Draw a curve with the pointer, or click for a clump. By keys: arrows move the pen, Enter sets a clump, " +
      "Space begins and ends a curve, Delete takes back.",
  );
  const unit = (v) => Math.round(10 * clamp(v, -EXTENT, EXTENT)) / 10;
  const placeOf = (event) => {
    const box = pad.getBoundingClientRect();
    return [
      unit(((event.clientX - box.left) / box.width) * 2 * EXTENT - EXTENT),
      unit(EXTENT - ((event.clientY - box.top) / box.height) * 2 * EXTENT),
    ];
  };
  const inOrder = () => [...(drawing.strokes ?? []).map(() => "strokes"), ...(drawing.dots ?? []).map(() => "dots")];
  let undo = inOrder();
  function put(what, part) {
    drawing[what].push(part);
    undo.push(what);
    open();
  }
  /** From a preset, the reader's drawing begins empty. */
  function own() {
    if (drawing.kind === "drawn") return;
    drawing = { kind: "drawn", noise: BLURS.drawn, strokes: [], dots: [] };
    undo = [];
    kind.select.value = "drawn";
    blur.set(drawing.noise);
    opened = null;
  }
  function finish() {
    if (!stroke) return;
    const line = simplified(stroke);
    const length = line.slice(1).reduce((sum, [x, y], i) => sum + Math.hypot(x - line[i][0], y - line[i][1]), 0);
    stroke = null;
    if (length < 0.8) put("dots", line[0]);
    else put("strokes", line);
  }
  function takeBack() {
    if (drawing.kind !== "drawn") return;
    if (stroke) stroke = null;
    else drawing[undo.pop() ?? "dots"].pop();
    open();
  }
  pad.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    pad.focus({ preventScroll: true });
    pad.setPointerCapture(event.pointerId);
    own();
    pen = placeOf(event);
    stroke = [pen];
    figure.redraw();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!stroke || !pad.hasPointerCapture(event.pointerId)) return;
    pen = placeOf(event);
    const [x, y] = stroke.at(-1);
    if (Math.hypot(pen[0] - x, pen[1] - y) > 0.2) stroke.push(pen);
    figure.redraw();
  });
  pad.addEventListener("pointerup", finish);
  pad.addEventListener("pointercancel", finish);
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  pad.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (move) {
      pen = [unit(pen[0] + move[0]), unit(pen[1] + move[1])];
      if (stroke) stroke.push(pen);
      say(`Pen at ${pen[0]}, ${pen[1]}${stroke ? ", drawing" : ""}.`);
    } else if (event.key === "Enter") {
      own();
      put("dots", pen);
    } else if (event.key === " ") {
      own();
      if (stroke) finish();
      else {
        stroke = [pen];
        say("A curve begins here: move the pen, and press Space to end it.");
      }
    } else if (event.key === "Delete" || event.key === "Backspace") takeBack();
    else return;
    event.preventDefault();
    figure.redraw();
  });

  // --- Pictures. ---

  const view = figure.canvas("What the model draws, at the time of the slider");
  const plane = (canvas) => {
    const context = cleared(canvas, figure.colours.panel);
    const side = canvas.width / (2 * EXTENT);
    return { context, x: (v) => (v + EXTENT) * side, y: (v) => (EXTENT - v) * side };
  };
  function dots({ context, x, y }, points, from, count, { scale, shift }, colour, size = 2) {
    context.fillStyle = colour;
    context.globalAlpha = 0.55;
    const side = size * devicePixelRatio;
    for (let i = from; i < from + 2 * count; i += 2) {
      context.fillRect(
        x(points[i] / scale + shift[0]) - side / 2,
        y(points[i + 1] / scale + shift[1]) - side / 2,
        side,
        side,
      );
    }
    context.globalAlpha = 1;
  }
  function words({ context }, canvas, said) {
    context.fillStyle = figure.colours.muted;
    context.textAlign = "center";
    context.fillText(said, canvas.width / 2, canvas.height / 2, 0.9 * canvas.width);
    context.textAlign = "start";
  }
  function line({ context, x, y }, points, colour, width = 2) {
    context.strokeStyle = colour;
    context.lineWidth = width * devicePixelRatio;
    context.beginPath();
    points.forEach(([a, b], i) => (i ? context.lineTo(x(a), y(b)) : context.moveTo(x(a), y(b))));
    context.stroke();
  }
  function drawPad() {
    const on = plane(pad);
    const { data, ink } = figure.colours;
    if (opened) dots(on, opened.draws, 0, opened.draws.length / 2, opened, data);
    for (const points of drawing.strokes ?? []) line(on, points, ink, 1);
    for (const [a, b] of drawing.dots ?? [])
      line(
        on,
        [
          [a - 0.3, b],
          [a + 0.3, b],
        ],
        ink,
        3,
      ); // prettier-ignore
    if (stroke) line(on, stroke, ink, 2);
    if (drawing.kind === "drawn" && !opened && !stroke) words(on, pad, "Draw here, or click for clumps");
    if (document.activeElement === pad) {
      const [a, b] = pen;
      line(
        on,
        [
          [a - 0.7, b],
          [a + 0.7, b],
        ],
        ink,
        1,
      ); // prettier-ignore
      line(
        on,
        [
          [a, b - 0.7],
          [a, b + 0.7],
        ],
        ink,
        1,
      ); // prettier-ignore
    }
  }
  function drawView() {
    const on = plane(view);
    if (!last || !opened) return words(on, view, "What the model draws comes here");
    const { path, T } = last.found[shown];
    const n = path.length / 2 / (T + 1);
    const at = Math.min(t, T);
    const { model: colour, drift: green, ink } = figure.colours;
    dots(on, path, 2 * n * at, n, opened, colour);
    const field = drifts[shown];
    if (arrows.checked && field?.t === Math.max(1, at)) {
      const longest = Math.max(...field.drift.map(Math.abs), 1e-9);
      const reach = Math.min(1, 0.35 / longest) / opened.scale;
      for (let i = 0; i < field.points.length; i += 2) {
        const place = [
          field.points[i] / opened.scale + opened.shift[0],
          field.points[i + 1] / opened.scale + opened.shift[1],
        ];
        line(on, [place, [place[0] + reach * field.drift[i], place[1] + reach * field.drift[i + 1]]], green, 1.2);
      }
    }
    if (chosen >= 0) {
      const spot = (k) => {
        const i = 2 * (k * n + (chosen % n));
        return [path[i] / opened.scale + opened.shift[0], path[i + 1] / opened.scale + opened.shift[1]];
      };
      line(
        on,
        Array.from({ length: T + 1 }, (_, k) => spot(k)),
        ink,
        1,
      );
      const { context, x, y } = on;
      context.fillStyle = ink;
      context.beginPath();
      context.arc(x(spot(at)[0]), y(spot(at)[1]), 5 * devicePixelRatio, 0, 2 * Math.PI);
      context.fill();
      root.dataset.spot = spot(at).map((v) => v.toFixed(3));
    }
    return null;
  }
  view.addEventListener("pointerdown", (event) => {
    if (!last || !opened) return;
    const box = view.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top].map(
      (v) => (v / box.width) * 2 * EXTENT - EXTENT,
    );
    const { path, T } = last.found[shown];
    const n = path.length / 2 / (T + 1);
    let nearest = Infinity;
    for (let i = 0; i < n; i++) {
      const k = 2 * (Math.min(t, T) * n + i);
      const away = Math.hypot(
        path[k] / opened.scale + opened.shift[0] - px,
        path[k + 1] / opened.scale + opened.shift[1] + py,
      );
      if (away < nearest) [nearest, chosen] = [away, i];
    }
    point.set(chosen + 1);
    figure.redraw();
  });

  const chart = openPlot(figure, "dpm-course", "K in bits over the steps of training, beside its limit");
  const bars = openPlot(figure, "dpm-losses", "Bits that each step of the chain costs");
  const INKS = ["model", "drift"];
  function drawChart() {
    if (!opened || !looks.length) return chart.replaceChildren();
    const limit = -inBits(opened.entropy);
    const values = looks.flatMap(({ found }) => found.map(({ K }) => inBits(K)));
    const low = Math.max(Math.min(...values) - 0.2, limit - 5);
    const end = Math.max(looks.at(-1).step, 100);
    const plot = scales(chart, MARGINS, [0, end], [low, limit + 0.3], { held: "y" });
    const rows = [low, (low + limit) / 2];
    chart.replaceChildren(
      ...plot.rows(rows, (v) => fixed(v, 1)),
      text(plot.left - 5, plot.y(limit) + 4, fixed(limit, 2), "end"),
      svg("g", { class: "dpm-ink-limit" }, plot.across(limit, "dpm-limit-line")),
      plot.axis(),
      ...plot.marks(
        [0, end],
        (v) => String(v),
        (v) => (v ? "end" : "start"),
      ), // prettier-ignore
      ...legs.filter((at) => at < end).map((at) => plot.upright(at, "dpm-grid")),
      ...all.map((_, run) => {
        const own = looks.filter(({ found }) => found[run]);
        const bar = ({ step: at, found }) => {
          const { K, error } = found[run];
          return plot.curve("dpm-error", [
            [at, inBits(K - error)],
            [at, inBits(K + error)],
          ]); // prettier-ignore
        };
        return svg(
          "g",
          { class: `dpm-ink-${INKS[run]}` },
          ...own.slice(-60).map(bar),
          plot.curve("dpm-law", own, ({ step: at, found }) => [at, inBits(found[run].K)]),
        );
      }),
    );
    return null;
  }
  function drawBars() {
    if (!last) return bars.replaceChildren();
    const { kl, T } = last.found[shown];
    const values = Array.from(kl, inBits);
    const top = 1.05 * Math.max(...values, 1e-3);
    const plot = scales(bars, MARGINS, [0.5, T + 0.5], [0, top], { held: "y" });
    bars.replaceChildren(
      ...plot.rows([0, top / 2, top], (v) => fixed(v, 2)),
      plot.axis(),
      ...plot.marks(
        [1, T],
        (v) => (v === 1 ? "t = 1" : `T = ${v}`),
        (v) => (v === 1 ? "start" : "end"),
      ), // prettier-ignore
      ...values.map((v, k) => (k > 1 ? plot.bar(k === t ? "dpm-bar dpm-chosen" : "dpm-bar", k - 0.4, k + 0.4, v) : "")),
    );
    return null;
  }
  const numbers = html("tbody");
  function drawTable() {
    numbers.replaceChildren(
      ...all.map((own, run) => {
        const found = last?.found[run];
        const cells = found
          ? [before.step + last.step, bits(found.K, 3), bits(found.error, 3), bits(found.gap, 3)]
          : ["0", "–", "–", "–"];
        return html(
          "tr",
          { class: `dpm-ink-${INKS[run]}` },
          html("th", { scope: "row" }, inWords(own)),
          ...cells.map((v) => html("td", {}, String(v))),
        );
      }),
    );
  }
  figure.draw = () => {
    drawPad();
    drawView();
    drawChart();
    drawBars();
    drawTable();
    Object.assign(root.dataset, { t, kind: drawing.kind, runs: all.length });
  };

  // --- Controls. ---

  const train = html("button", { type: "button", class: "dpm-play", click: toggle }, "Train");
  function toggle() {
    if (going) tell({ kind: "stop" });
    else tell({ kind: "go" });
    setGoing(!going && Boolean(worker));
  }
  const once = button("One step", () => {
    if (going) toggle();
    tell({ kind: "once" });
  });
  const again = button("Start again", () => open());
  const bringBack = button("Bring back", takeSpare);
  bringBack.title = "What was trained before the data changed, or before Start again";
  const kind = figure.chooser({
    label: "Data",
    options: KINDS,
    value: drawing.kind,
    set: (value) => {
      drawing = { kind: value, noise: BLURS[value], ...(value === "drawn" && { strokes: [], dots: [] }) };
      undo = [];
      blur.set(drawing.noise);
    },
    after: () => open(),
  });
  const blur = figure.slider({
    label: "Blur",
    min: 0,
    max: 3,
    step: 0.05,
    value: drawing.noise,
    format: (v) => fixed(v, 2),
    set: (value) => (drawing.noise = value),
    after: openSoon,
  });
  const change = (part) => {
    settings = within({ ...settings, ...part });
    showSettings();
    open({ keep: true });
  };
  function showSettings() {
    const bySquares = settings.objective !== "bound"; // teaches no covariance, and no schedule
    for (const option of choosers.covariance.select.options)
      option.disabled = bySquares && !OWN_NONE.includes(option.value);
    choosers.learn_schedule.select.options[0].disabled = bySquares;
    for (const [name, { select }] of Object.entries(choosers)) select.value = String(settings[name]);
  }
  const choosers = {
    objective: figure.chooser({
      label: "Learn by",
      options: OBJECTIVES,
      value: settings.objective,
      set: (value) =>
        change(
          value === "bound" ? { objective: value, covariance: "full", learn_schedule: true } : { objective: value },
        ),
    }),
    covariance: figure.chooser({
      label: "Covariance",
      options: COVARIANCES,
      value: settings.covariance,
      set: (value) => change({ covariance: value }),
    }),
    T: figure.chooser({
      label: "T",
      options: [5, 10, 20, 40, 100].map(String),
      value: String(settings.T),
      set: (value) => change({ T: Number(value) }),
    }),
    width: figure.chooser({
      label: "Width",
      options: [16, 32, 64, 128].map(String),
      value: String(settings.width),
      set: (value) => change({ width: Number(value) }),
    }),
    learn_schedule: figure.chooser({
      label: "Schedule",
      options: [
        ["true", "learned"],
        ["false", "fixed"],
      ],
      value: String(settings.learn_schedule),
      set: (value) => change({ learn_schedule: value === "true" }),
    }),
    steps: figure.chooser({
      label: "Steps",
      options: [500, 1000, 2000, 4000, 8000].map(String),
      value: String(settings.steps),
      set: (value) => change({ steps: Number(value) }),
    }),
  };
  showSettings();
  const beside = figure.chooser({
    label: "Beside it, the same with",
    options: Object.entries(RIVALS).map(([name, [said]]) => [name, said]),
    value: rival,
    set: (value) => (rival = value),
    after: () => open(),
  });
  const whose = figure.chooser({
    label: "Pictures of",
    options: [
      ["0", "the first"],
      ["1", "the second"],
    ],
    value: "0",
    set: (value) => (shown = Number(value)),
  });
  const whosePlace = html("span");
  const time = figure.slider({
    label: "Time t",
    min: 0,
    max: settings.T,
    value: 0,
    wide: true,
    format: (v) => (v === 0 ? "t = 0, draws" : `t = ${v}`),
    set: (value) => (t = value),
    after: () => {
      if (worker && last) worker.postMessage({ kind: "at", t });
      figure.redraw();
    },
  });
  const point = figure.slider({
    label: "One point",
    min: 0,
    max: 400,
    value: 0,
    format: (v) => (v ? `no. ${v}` : "none"),
    set: (value) => (chosen = value - 1),
  });
  const arrowsNode = figure.checkbox({ label: "Drift", checked: false, set: () => {} });
  const arrows = arrowsNode.querySelector("input");
  const clear = button("Clear", () => {
    drawing = { kind: "drawn", noise: drawing.noise || BLURS.drawn, strokes: [], dots: [] };
    undo = [];
    kind.select.value = "drawn";
    open();
  });
  const copied = html("textarea", { rows: 3, readonly: true, "aria-label": "Copied text" });
  const copyPlace = html("div");
  async function copy(words, what) {
    let done = true;
    await navigator.clipboard.writeText(words).catch(() => (done = false));
    copied.value = words;
    copyPlace.replaceChildren(...(done ? [] : [copied]));
    if (!done) copied.select();
    say(done ? `${what} copied.` : `${what}: the text is selected, copy it by keys.`);
  }
  const numbersText = () => {
    const heads = all.flatMap((_, i) => ["K", "standard error", "gap"].map((word) => `${word} ${i + 1}, bits`));
    const rows = looks.map((one) => [
      one.step,
      ...one.found.flatMap(({ K, error, gap }) => [K, error, gap].map((v) => inBits(v).toFixed(4))),
    ]);
    const about = all.map((own, i) => `# ${i + 1}: ${inWords(own)}`);
    const error = opened && Math.max(inBits(opened.entropyError), 1e-12).toExponential(0); // sums of doubles are no better
    const limit = opened
      ? [`# limit -H(X0): ${inBits(-opened.entropy).toFixed(6)} bits, off by less than ${error}`]
      : [];
    return [...about, ...limit, ["step", ...heads].join("\t"), ...rows.map((row) => row.join("\t"))].join("\n");
  };
  const link = button("Copy link", () => {
    const address = `${location.href.split("#")[0]}${stateText(drawing, settings)}`;
    copy(address, "The link");
  });
  const table = html(
    "table",
    { class: "dpm-trained" },
    html("caption", {}, "K of the averaged weights, in bits"),
    html(
      "thead",
      {},
      html(
        "tr",
        {},
        ...["training", "steps", "K", "standard error", "below the limit"].map((word) =>
          html("th", { scope: "col" }, word),
        ),
      ),
    ),
    numbers,
  );
  figure.add(
    controls(kind, blur, button("Take back", takeBack), clear),
    controls(train, once, again, bringBack, beside),
    html(
      "div",
      { class: "dpm-two" },
      html("div", {}, title("The data", " q: draw here"), pad),
      html("div", {}, title("The model", " p: what it draws"), view),
    ),
    controls(time, point, arrowsNode, whosePlace),
    status,
    title("K in bits, over steps of training"),
    keys({ model: "K, ± its standard error", drift: "K of the second", limit: "the limit, −H(X₀)" }),
    chart,
    now,
    title("KL of each step of the chain, bits"),
    bars,
    controls(...Object.values(choosers)),
    html("div", { class: "dpm-scroll", tabindex: 0, role: "region", "aria-label": "Numbers" }, table),
    controls(
      button("Copy numbers", () => copy(numbersText(), "The course")),
      link,
      button("Download weights", () => tell({ kind: "file", run: shown })),
      button("Download data", () => tell({ kind: "data", count: 20000 })),
    ),
    copyPlace,
  );
  setGoing(false);
  // A tab that the browser stopped, or put to sleep, may come back without its worker: it is asked whether it is there.
  let answered = true;
  heard.alive = () => (answered = true);
  function comeBack() {
    if (document.hidden || !worker) return;
    answered = false;
    worker.postMessage({ kind: "alive" });
    setTimeout(() => answered || !worker || lost("the browser ended it while the page was away"), 15000);
  }
  document.addEventListener("visibilitychange", comeBack);
  open();
  return () => {
    clearTimeout(opening);
    document.removeEventListener("visibilitychange", comeBack);
    worker?.terminate();
    figure.close();
  };
}

export default { render };
