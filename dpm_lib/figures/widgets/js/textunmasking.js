// A text with gaps, filled by a small network that runs in the page: several characters at each call, in an order to choose.

import { button, clamp, controls, html, isCalm, openFigure, renew, renewFor, say, title, uniforms } from "./common.js";
import { shuffled } from "./parallel.js";
import { fixed, inBits, openPlot, scales, text } from "./plot.js";
import { choose } from "./stringlaw.js";
import { chancesAt, logitsOf, readNetwork } from "./textnet.js";
import { live } from "./view.js";

const LONGEST = 160;
const SHOWN = 10; // letters
const MOST = 16; // at once
const PACE = 6; // calls a second
const REST = 15; // calls, before the next draws
const GAP = "_";
const MARGINS = { left: 40, right: 10, top: 8, bottom: 22 };
const ORDERS = { random: "at random", confidence: "the surest first", left: "left to right" };
const VISIBLE = { " ": "␣", "\n": "↵" };

/** A text as numbers, gaps as S; and the characters that the alphabet does not have, each once, which are left out. */
export function parsed(words, alphabet) {
  const strange = new Set();
  const tokens = [];
  for (const character of words) {
    const small = alphabet.includes(character) ? character : character.toLowerCase();
    const token = small === GAP ? alphabet.length : alphabet.indexOf(small);
    if (token < 0) strange.add(character);
    else tokens.push(token);
  }
  return { tokens: tokens.slice(0, LONGEST), strange: [...strange] };
}

/** The k of the gaps that are filled next; `sure` are the highest probabilities at them. */
export function nextGaps(gaps, sure, k, order, uniform) {
  if (order === "left") return gaps.slice(0, k);
  if (order === "random") return shuffled(gaps, uniform).slice(0, k);
  return [...gaps].sort((i, j) => sure.get(j) - sure.get(i) || i - j).slice(0, k);
}

function render({ model, el }) {
  const figure = openFigure(model, el, "untext");
  const { root } = figure;
  const alphabet = model.get("alphabet");
  const S = alphabet.length;
  let net;
  let memory;
  let k = model.get("k");
  let order = model.get("order");
  let seed = 1;
  let given; // numbers of the reader's text
  let strange;
  let state;
  let chances; // of each gap, by place
  let newest = [];
  let calls = 0;
  let nats = 0;
  let wanted = 0; // calls
  let rested = 0; // steps of the player
  let uniform;

  const field = html("textarea", { rows: 3, maxlength: LONGEST, spellcheck: false, input: () => read(field.value) });
  const named = html("p", { class: "dpm-detail", role: "status" });
  const page = html("p", { class: "dpm-page" });
  const letters = openPlot(figure, "dpm-letters", "What may stand in the surest gap, with probabilities");
  const about = title("The surest gap");
  const now = html("p", { class: "dpm-detail dpm-now", role: "status" });
  const spell = (token) => alphabet[token] ?? GAP;
  const gapsOf = (tokens) => tokens.flatMap((token, i) => (token === S ? [i] : []));

  function* look() {
    const gaps = gapsOf(state);
    const logits = yield* logitsOf(net, state, gaps, memory);
    chances = new Map(gaps.map((i) => [i, chancesAt(logits, i, S)]));
  }
  /** One call: the network's law of each of k gaps, and a draw from it. */
  function draw() {
    const sure = new Map([...chances].map(([i, row]) => [i, Math.max(...row)]));
    newest = nextGaps([...chances.keys()], sure, k, order, uniform);
    for (const i of newest) {
      const row = chances.get(i);
      state[i] = choose(row, uniform());
      nats -= Math.log(row[state[i]]);
      chances.delete(i);
    }
    calls += 1;
    wanted -= 1;
  }
  const run = figure.inSlices(function* () {
    yield* look();
    while (wanted > 0 && chances.size) {
      draw();
      yield* look();
      figure.redraw();
    }
    wanted = 0;
    figure.redraw();
  });
  /** The reader's text, with all its gaps; then so many calls. */
  function start(count) {
    state = [...given];
    [newest, calls, nats, wanted, rested] = [[], 0, 0, count, 0];
    uniform = uniforms(seed);
    chances = new Map();
    run();
    figure.redraw();
  }
  function read(words) {
    ({ tokens: given, strange } = parsed(words, alphabet));
    start(0);
  }
  const write = (tokens) => {
    field.value = tokens.map(spell).join("");
    read(field.value);
  };

  function drawPage() {
    const tops = state.map((token, i) => (token === S ? Math.max(0, ...(chances.get(i) ?? [])).toFixed(2) : ""));
    renewFor(page, [state, given, newest, tops], () => {
      const parts = [];
      state.forEach((token, i) => {
        const isDrawn = given[i] === S && token !== S;
        const kind =
          token === S ? "dpm-gap" : !isDrawn ? "" : newest.includes(i) ? "dpm-drawn dpm-newest" : "dpm-drawn";
        const last = parts.at(-1);
        if (last?.kind === kind && kind !== "dpm-gap") last.words += spell(token);
        else parts.push({ kind, words: spell(token), sure: tops[i] });
      });
      return parts.map(({ kind, words, sure }) =>
        html(
          "span",
          { class: kind || null, style: kind === "dpm-gap" ? `--sure: ${Math.round(100 * sure)}%` : null },
          words,
        ),
      );
    });
  }
  function drawLetters() {
    const gaps = [...chances].sort(([, a], [, b]) => Math.max(...b) - Math.max(...a));
    if (!gaps.length) {
      say(about, given.includes(S) ? "No gap is left" : `Write ${GAP} where a character is to be guessed`);
      renew(letters);
      return;
    }
    const [place, row] = gaps[0];
    const best = row
      .map((p, token) => [p, token])
      .sort(([p], [q]) => q - p)
      .slice(0, SHOWN);
    const around = state.slice(Math.max(0, place - 9), place + 10);
    say(about, `The surest gap, character ${place + 1}: …${around.map(spell).join("").replace(/\n/g, " ")}…`);
    const plot = scales(letters, MARGINS, [0, SHOWN], [0, 1]);
    renew(
      letters,
      ...plot.rows([0, 0.5, 1]),
      ...best.map(([p], n) => plot.bar("dpm-solid dpm-ink-model", n + 0.2, n + 0.8, p)),
      plot.axis(),
      ...best.map(([, token], n) =>
        text(plot.x(n + 0.5), plot.height - 5, VISIBLE[spell(token)] ?? spell(token), "middle", "dpm-token"),
      ),
    );
  }
  figure.draw = () => {
    drawPage();
    drawLetters();
    const all = gapsOf(given).length;
    const filled = all - gapsOf(state).length;
    const odd = strange.map((character) => `“${character}”`).join(" ");
    say(named, strange.length ? `Left out, not in the alphabet: ${odd}` : "");
    const per = filled ? ` What was drawn costs ${fixed(inBits(nats) / filled, 2)} bits a character.` : "";
    const ended = calls && filled === all ? ` It reads: ${state.map(spell).join("")}` : "";
    say(
      now,
      `${filled} of ${all} gaps filled, ${calls} ${calls === 1 ? "call" : "calls"} of the network.${per}${wanted ? "" : ended}`,
    );
    Object.assign(root.dataset, { k, order, calls, gaps: all, filled, seed, text: state.map(spell).join("") });
  };

  const count = figure.slider({
    label: "Characters at once",
    min: 1,
    max: MOST,
    value: k,
    format: (value) => `k = ${value}`,
    set: (value) => (k = value),
  });
  const how = figure.chooser({
    label: "Order",
    options: Object.entries(ORDERS),
    value: order,
    set: (value) => (order = value),
  });
  const fill = button(
    "Fill at once",
    () => (seed += 1),
    () => start(Infinity),
  );
  const play = figure.playSteps(
    () => (isCalm() ? PACE / 2 : PACE),
    () => {
      if (wanted || !given.includes(S)) return;
      if (state.includes(S)) {
        wanted = 1;
        run();
      } else if (++rested > REST) {
        seed += 1;
        start(0);
      }
    },
  );
  const empty = button("Empty them", () => start(0));
  figure.keep(
    "text",
    () => given,
    write,
    (value) =>
      Array.isArray(value) && value.length <= LONGEST && value.every((n) => Number.isInteger(n) && n >= 0 && n <= S),
  );
  figure.keep(
    "draw",
    () => seed,
    (value) => (seed = clamp(Math.round(value), 1, 1e6)),
  );
  figure.add(
    html("label", { class: "dpm-own-text" }, html("span", {}, `Your text, ${GAP} for each gap`), field),
    named,
    controls(play, fill, empty, count, how),
    page,
    about,
    letters,
    now,
  );
  const load = () => {
    net = readNetwork(model.get("weights"), model.get("shapes"));
    memory = {};
    write(parsed(model.get("text"), alphabet).tokens);
  };
  figure.onChange("weights text", load);
  load();
  return figure.close;
}

export default live(render);
