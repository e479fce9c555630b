// The masked cross-entropy against the share that is seen: the area below is the entropy, for any order of the tokens.

import {
  attribute,
  button,
  clamp,
  controls,
  draggable,
  html,
  isCalm,
  keys,
  openFigure,
  renew,
  renewFor,
  say,
  svg,
  title,
  uniforms,
} from "./common.js";
import {
  evenly,
  fixed,
  handle,
  inBits,
  joined,
  keySteps,
  moveHandle,
  openPlot,
  scales,
  sharesAt,
  text,
} from "./plot.js";
import {
  areaTo,
  choose,
  conditionals,
  curveAt,
  readLaw,
  spelled,
  staircase,
  subsetChances,
  subsetEntropies,
} from "./stringlaw.js";
import { live } from "./view.js";

const MARGINS = { left: 40, right: 12, top: 14, bottom: 34, foot: 18 };
const POINTS = 80;
const SECONDS = 7;
const steps = (top) => [0.1, 0.2, 0.5, 1, 2, 5].find((gap) => top / gap <= 6) ?? 10;
const ticks = (top) => evenly(0, steps(top) * Math.floor(top / steps(top)), Math.floor(top / steps(top)));
const digits = (top) => (steps(top) < 1 ? 1 : 0);

/** H(token m | those left of it), m = 0..d-1. */
export function leftToRight(d, entropies) {
  return Array.from({ length: d }, (_, m) => entropies[2 ** (m + 1) - 1] - entropies[2 ** m - 1]);
}

function render({ model, el }) {
  const figure = openFigure(model, el, "erased");
  const { root } = figure;
  const laws = model.get("laws");
  let name = model.get("law");
  let u = model.get("u");
  let seed = 1;
  let law;
  let stairs;
  let left;
  let entropy;
  let drawnFor; // the law
  let above; // scales of the curve, and of the area
  let below;
  let points;
  let example; // a string, and the rate at which each of its tokens is seen

  const curve = openPlot(figure, "dpm-erased-curve", "Masked cross-entropy against the share seen u", "group");
  const fill = svg("polygon", { class: "dpm-fill dpm-ink-data" });
  const curveStill = svg("g");
  const knob = handle({ label: "Share seen u", min: 0, max: 1, orientation: "horizontal" });
  curve.append(fill, curveStill, knob);
  const area = openPlot(figure, "dpm-erased-area", "The area from 0 to u, and the entropy");
  const areaStill = svg("g");
  const dot = svg("circle", { class: "dpm-solid dpm-ink-data", r: 5 });
  area.append(areaStill, dot);
  const stair = openPlot(figure, "dpm-erased-stairs", "Entropy of one more token, by how many are seen");
  const tiles = html("div", { class: "dpm-tiles-row" });
  const now = html("p", { class: "dpm-detail dpm-now" });

  function open() {
    law = readLaw(laws[name]);
    const entropies = subsetEntropies(law, subsetChances(law));
    stairs = staircase(law.d, entropies);
    left = leftToRight(law.d, entropies);
    entropy = entropies.at(-1);
    take();
    figure.redraw();
  }
  function take() {
    const uniform = uniforms(seed);
    const row = law.rows[choose(law.chances, uniform())];
    example = row.map((token) => ({ token, at: uniform() }));
  }

  /** What stays of the curve and of the area while u moves: drawn once for a law and a size. */
  function drawStill() {
    const all = evenly(0, 1, POINTS);
    const H = inBits(entropy);
    const curves = all.map((v) => [v, inBits(curveAt(stairs, v))]);
    const areas = all.map((v) => [v, inBits(areaTo(stairs, v))]);
    const top = 1.12 * Math.max(0.1, ...curves.map(([, v]) => v));
    above = scales(curve, MARGINS, [0, 1], [0, top]);
    below = scales(area, MARGINS, [0, 1], [0, 1.12 * H]);
    points = curves;
    const under = (plot, words) => text((plot.left + plot.end) / 2, plot.height - 2, words);
    renew(
      curveStill,
      ...above.rows(ticks(top), (v) => fixed(v, digits(top))),
      above.curve("dpm-law dpm-ink-data", curves),
      above.axis(),
      ...above.marks([0, 0.25, 0.5, 0.75, 1]),
      under(above, "share seen u"),
    );
    renew(
      areaStill,
      ...below.rows(ticks(1.12 * H), (v) => fixed(v, digits(1.12 * H))),
      below.across(H, "dpm-limit-line dpm-ink-limit"),
      text(below.end, below.y(H) - 4, "entropy", "end"),
      below.curve("dpm-law dpm-ink-data", areas),
      below.axis(),
      ...below.marks([0, 0.5, 1]),
      under(below, "share seen u"),
    );
    drawStairs();
  }
  function drawMoving(here, to) {
    const filled = [[0, 0], ...points.filter(([v]) => v < u), [u, here], [u, 0]];
    attribute(fill, "points", joined(filled.map(above.place)));
    moveHandle(knob, above.x(u), above.y(here), u.toFixed(2), `u = ${u.toFixed(2)}, ${fixed(here, 2)} bits`);
    attribute(dot, "cx", below.x(u));
    attribute(dot, "cy", below.y(to));
  }
  function drawStairs() {
    const top = 1.12 * inBits(Math.max(0.07, ...stairs, ...left));
    const plot = scales(stair, MARGINS, [0, law.d], [0, top]);
    const level = (values) =>
      values.flatMap((v, m) => [
        [m, inBits(v)],
        [m + 1, inBits(v)],
      ]);
    renew(
      stair,
      ...plot.rows(ticks(top), (v) => fixed(v, digits(top))),
      ...stairs.map((v, m) => plot.bar("dpm-fill dpm-ink-data", m, m + 1, inBits(v))),
      plot.curve("dpm-law dpm-ink-data", level(stairs)),
      plot.curve("dpm-law dpm-dashed dpm-ink-model", level(left)),
      plot.axis(),
      ...plot.marks(evenly(0, law.d, law.d)),
      text((plot.left + plot.end) / 2, plot.height - 2, "tokens seen"),
    );
  }
  function drawTiles() {
    const state = example.map(({ token, at }) => (at < u ? token : law.S));
    renewFor(tiles, [name, seed, state], () => {
      const chances = conditionals(law, state);
      return example.map(({ token }, i) => {
        const isSeen = state[i] !== law.S;
        const price = inBits(-Math.log(chances[i][token]));
        return html(
          "span",
          { class: `dpm-tile${isSeen ? "" : " dpm-tile-masked"}` },
          html("b", {}, isSeen ? law.letters[token] : "▢"),
          html("small", {}, isSeen ? "seen" : fixed(Math.abs(price), 2)),
        );
      });
    });
    return state;
  }
  figure.draw = ({ all }) => {
    if (all || drawnFor !== name) drawStill();
    drawnFor = name;
    const [here, to] = [inBits(curveAt(stairs, u)), inBits(areaTo(stairs, u))];
    drawMoving(here, to);
    const state = drawTiles();
    say(
      now,
      `u = ${u.toFixed(2)}: curve ${fixed(here)} bits, area from 0 ${fixed(to)}, rest ${fixed(inBits(entropy) - to)}. ` +
        `Entropy of the law: ${fixed(inBits(entropy))} bits. Left to right: ${left.map((v) => fixed(inBits(v), 2)).join(" + ")}.`,
    );
    Object.assign(root.dataset, {
      t: u.toFixed(4),
      u,
      curve: here,
      area: to,
      entropy: inBits(entropy),
      law: name,
      string: spelled(law, state, "_"),
    });
  };
  const moveTo = (value) => {
    u = clamp(value, 0, 1);
    figure.redraw();
  };
  const hold = (value) => {
    play.set(false);
    moveTo(value);
  };
  draggable(knob, {
    keys: keySteps(0.01, 0.1, 1),
    step: (by) => hold(Math.round(100 * (u + by)) / 100),
    drag: (event) => hold(Math.round(200 * sharesAt(event, curve, MARGINS).x) / 200),
  });
  const play = figure.playButton((seconds) => moveTo(u >= 1 ? 0 : u + seconds / (isCalm() ? 2 * SECONDS : SECONDS)));
  const which = figure.chooser({
    label: "Law",
    options: Object.keys(laws),
    value: name,
    set: (value) => (name = value),
    after: open,
  });
  const again = button("Another string", () => (seed += 1), take, figure.redraw);
  figure.keep(
    "u",
    () => u,
    (value) => (u = clamp(value, 0, 1)),
  );
  figure.keep(
    "string",
    () => seed,
    (value) => {
      seed = clamp(Math.round(value), 1, 1e6);
      take();
    },
  );
  figure.add(
    controls(play, which, again),
    title("Cross-entropy of the masked tokens", " bits, if each is seen with probability u"),
    curve,
    html("p", { class: "dpm-detail" }, "A string at this u; below each masked token, what it costs in bits:"),
    tiles,
    html(
      "div",
      { class: "dpm-two" },
      html("div", {}, title("Area from 0 to u", " bits"), area, keys({ data: "area", limit: "entropy, exact" })),
      html(
        "div",
        {},
        title("One more token", " bits, by how many are seen"),
        stair,
        keys({ data: "mean of all orders", model: "left to right" }),
      ),
    ),
    now,
  );
  attribute(curve, "aria-label", "Masked cross-entropy against the share seen u, to drag");
  open();
  return figure.close;
}

export default live(render);
