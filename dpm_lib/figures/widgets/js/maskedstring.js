// One string, from data to noise and back: each token's rate drawn as a clock, and where the token would jump to.

import {
  attribute,
  button,
  clamp,
  controls,
  html,
  isCalm,
  keys,
  openFigure,
  renewFor,
  say,
  sizeOf,
  svg,
  title,
  uniforms,
} from "./common.js";
import { circle, line, openPlot, rect, short, text } from "./plot.js";
import { forwardRates, handsAt, KERNELS, reversedRates, stringAt, thereAndBack } from "./stringjumps.js";
import { readLaw, spelled } from "./stringlaw.js";
import { live } from "./view.js";

const HALF = 100; // slider steps one way
const SECONDS = 6; // one way
const REST = 1.5; // seconds, before the next path
const BAR = 15; // pixels
const LANE = 19;
const EDGE = 1e-6; // where rates are still finite

const KERNEL_WORDS = { mask: "mask: a token becomes [MASK]", uniform: "uniform: a token is drawn anew" };

/** The stays of token i on a path: [{ from, to, token }] in t, in the order of the path, which ends at `end`. */
export function stays({ start, events }, i, begin, end) {
  const found = [{ from: begin, to: end, token: start[i] }];
  for (const event of events) {
    if (event.i !== i) continue;
    found.at(-1).to = event.t;
    found.push({ from: event.t, to: end, token: event.to });
  }
  return found;
}

function render({ model, el }) {
  const figure = openFigure(model, el, "masked");
  const { root } = figure;
  const laws = model.get("laws");
  let name = model.get("law");
  let kind = model.get("kernel");
  let law;
  let path;
  let seed = 1;
  let s = 0; // t on the way there, 2 - t on the way back
  let rested = 0;
  let cells = [];

  const stage = openPlot(figure, "dpm-stage-of-clocks", "The string, a clock for each token, and where each may jump");
  const film = openPlot(figure, "dpm-lanes", "The path: what each token is, from data to noise and back");
  const lanes = svg("g");
  const cursor = line(0, 0, 0, 0, "dpm-cut");
  film.append(lanes, cursor);
  const now = html("p", { class: "dpm-detail dpm-now" });
  const list = html("ol", { class: "dpm-jumps-list", hidden: true });

  const letter = (token) => law.letters[token] ?? "[MASK]";
  const rateWords = (rate) => (rate > 999 ? "> 999" : short(rate));

  function draw() {
    law = readLaw(laws[name]);
    path = thereAndBack(law, KERNELS[kind], uniforms(seed));
    figure.redrawAll();
  }

  /** The parts of the stage that stay, at the size it has: for each token its ring, its letter, its rate, its bars. */
  function build() {
    const targets = law.S + (kind === "mask" ? 1 : 0);
    const wide = (sizeOf(stage).width || 600) / law.d;
    const r = Math.min(32, 0.38 * wide);
    const top = 2 * r + 34;
    stage.style.height = `${top + targets * BAR + 4}px`;
    film.style.height = `${law.d * LANE + 26}px`;
    cells = Array.from({ length: law.d }, (_, i) => {
      const x = (i + 0.5) * wide;
      const y = r + 4;
      const half = Math.min(54, 0.46 * wide);
      const around = { cx: x, cy: y, r, transform: `rotate(-90 ${x} ${y})`, pathLength: 1 };
      const ring = svg("circle", { class: "dpm-clock-way", ...around });
      const hand = line(x, y - 0.62 * r, x, y - r, "dpm-clock-hand");
      const shown = text(x, y + 0.22 * r + 3, "", "middle", "dpm-token");
      shown.style.fontSize = `${Math.max(13, 0.85 * r)}px`;
      const rate = text(x, 2 * r + 24, "", "middle", "dpm-rate");
      const bars = Array.from({ length: targets }, (_, v) => {
        const at = top + v * BAR;
        const label = text(x - half + 6, at + 11, law.letters[v] ?? "▢", "middle", "dpm-target-letter");
        const bar = rect("dpm-target-bar", x - half + 15, at + 2, 0, BAR - 4);
        return { bar, label, room: 2 * half - 16 };
      });
      const face = circle("dpm-clock-face", x, y, r);
      const node = svg("g", {}, face, ring, hand, shown, rate, ...bars.flatMap(({ bar, label }) => [label, bar]));
      return { node, ring, hand, shown, rate, bars, x, y };
    });
    stage.replaceChildren(...cells.map(({ node }) => node));
  }

  function drawFilm() {
    const { width = 600 } = sizeOf(film);
    const [left, end] = [22, width - 8];
    const X = (at) => left + ((end - left) * at) / 2;
    renewFor(lanes, [name, kind, seed, width], () => {
      const rows = [];
      for (let i = 0; i < law.d; i++) {
        rows.push(text(left - 8, i * LANE + 13, i + 1));
        for (const [part, begin, ink, place] of [
          [path.there, 0, "data", (t) => X(t)],
          [path.back, 1, "model", (t) => X(2 - t)],
        ]) {
          const known = ink === "data" ? path.there.start[i] : path.back.end[i];
          for (const stay of stays(part, i, begin, 1 - begin)) {
            const [from, to] = [place(stay.from), place(stay.to)];
            if (stay.token === law.S) {
              rows.push(line(from, i * LANE + 9, to, i * LANE + 9, "dpm-masked-lane"));
              continue;
            }
            rows.push(
              rect(
                `dpm-stay dpm-ink-${stay.token === known ? ink : "muted"}`,
                from + 0.5,
                i * LANE + 1,
                to - from - 1,
                16,
              ),
            );
            if (to - from > 11)
              rows.push(text((from + to) / 2, i * LANE + 13, letter(stay.token), "middle", "dpm-stay-letter"));
          }
        }
      }
      const low = law.d * LANE;
      rows.push(line(X(1), 0, X(1), low + 4, "dpm-axis"));
      rows.push(
        text(X(0), low + 20, "data, t = 0", "start"),
        text(X(1), low + 20, "t = 1"),
        text(X(2), low + 20, "t = 0, drawn", "end"),
      );
      return rows;
    });
    for (const end_ of ["x1", "x2"]) attribute(cursor, end_, X(s));
    attribute(cursor, "y2", law.d * LANE + 4);
  }

  function drawStage(state, rates, shares, back) {
    attribute(stage, "data-back", back);
    cells.forEach(({ ring, hand, shown, rate, bars, x, y, node }, i) => {
      const total = rates[i].reduce((a, b) => a + b, 0);
      const share = total > 0 ? shares[i] : 0;
      attribute(node, "class", state[i] === law.S ? "dpm-is-masked" : "");
      attribute(ring, "stroke-dasharray", `${share.toFixed(4)} 2`);
      attribute(hand, "transform", `rotate(${(360 * share).toFixed(2)} ${x} ${y})`);
      attribute(hand, "opacity", total > 0 ? 1 : 0);
      say(shown, law.letters[state[i]] ?? "");
      say(rate, total > 0 ? rateWords(total) : "–");
      bars.forEach(({ bar, label, room }, v) => {
        const part = total > 0 ? rates[i][v] / total : 0;
        attribute(bar, "width", (room * part).toFixed(2));
        attribute(label, "opacity", part > 0 ? 1 : 0.35);
      });
    });
  }

  figure.draw = ({ all }) => {
    if (all) build();
    const back = s > 1;
    const t = back ? 2 - s : s;
    const part = back ? path.back : path.there;
    const state = stringAt(part, t, back);
    const at = clamp(t, EDGE, 1 - EDGE);
    const kernel = KERNELS[kind];
    const rates = back ? reversedRates(law, kernel, state, at) : forwardRates(law, kernel, state, at);
    drawStage(state, rates, handsAt(part, t, back), back);
    drawFilm();
    const past = part.events.filter((event) => (back ? event.t >= t : event.t <= t));
    const last = past.at(-1);
    const words = last
      ? `Last jump: token ${last.i + 1}, ${letter(last.from)} to ${letter(last.to)}, at t = ${last.t.toFixed(3)}.`
      : "No jump yet.";
    say(
      now,
      `${back ? "Backward" : "Forward"}, t = ${t.toFixed(2)}: ${spelled(law, state)}. ${past.length} ${past.length === 1 ? "jump" : "jumps"} ${back ? "since t = 1" : "so far"}. ${words}`,
    );
    renewFor(list, [name, kind, seed], () =>
      [
        ...path.there.events.map((event) => [event, "forward"]),
        ...path.back.events.map((event) => [event, "backward"]),
      ].map(([event, way]) =>
        html(
          "li",
          {},
          `${way}, t = ${event.t.toFixed(3)}: token ${event.i + 1}, ${letter(event.from)} → ${letter(event.to)}`,
        ),
      ),
    );
    Object.assign(root.dataset, { t: s.toFixed(3), string: spelled(law, state, "_"), seed, kind, law: name });
  };

  const moveTo = (next) => {
    s = next;
    time.set(Math.round(s * HALF));
    figure.redraw();
  };
  const restart = () => {
    rested = 0;
    draw();
  };
  const time = figure.slider({
    wide: true,
    label: "Time",
    min: 0,
    max: 2 * HALF,
    value: 0,
    format: (v) => (v <= HALF ? `forward, t = ${(v / HALF).toFixed(2)}` : `back, t = ${(2 - v / HALF).toFixed(2)}`),
    set: (v) => {
      s = v / HALF;
      rested = 0;
    },
  });
  const play = figure.playButton((seconds) => {
    if (s < 2) return moveTo(Math.min(2, s + seconds / (isCalm() ? 2 * SECONDS : SECONDS)));
    rested += seconds;
    if (rested < REST) return;
    seed += 1;
    restart();
    moveTo(0);
  });
  const which = figure.chooser({
    label: "Law",
    options: Object.keys(laws),
    value: name,
    set: (value) => (name = value),
    after: restart,
  });
  const how = figure.chooser({
    label: "Kernel",
    options: Object.entries(KERNEL_WORDS),
    value: kind,
    set: (value) => (kind = value),
    after: restart,
  });
  const listed = figure.checkbox({ label: "List all jumps", set: (value) => (list.hidden = !value) });
  const again = button("New path", () => (seed += 1), restart);
  figure.keep(
    "path",
    () => seed,
    (value) => {
      seed = clamp(Math.round(value), 1, 1e6);
      restart();
    },
  );
  figure.add(
    controls(play, time),
    stage,
    html(
      "p",
      { class: "dpm-detail" },
      "Ring: the way to the token’s alarm. Number: its rate. Bars: where the jump goes.",
    ),
    title("The path", " one lane for each token"),
    film,
    keys({ data: "as in the data", model: "as drawn at the end", muted: "another letter; dots: masked" }),
    now,
    controls(which, how, again, listed),
    list,
  );
  draw();
  return figure.close;
}

export default live(render);
