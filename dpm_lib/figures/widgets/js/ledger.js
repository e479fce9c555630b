// The ledger: every line of the derivation of K with its value, recomputed by enumeration as the sliders move.

import { attribute, html, openFigure, renew, sizeOf, svg, title } from "./common.js";
import { circle, fixed, inBits, line, minus, openPlot, rect, text } from "./plot.js";
import { account, coupledBits } from "./tiny.js";
import { live } from "./view.js";

const shown = (nats, digits = 4) => fixed(inBits(nats), digits);

// --- Formulas, as MathML: the browser sets them, and no font or script is fetched. ---

const MATHML = "http://www.w3.org/1998/Math/MathML";
const node = (tag, ...children) => {
  const made = document.createElementNS(MATHML, tag);
  made.append(...children);
  return made;
};
const word = (text) => node("mi", text);
const sign = (text) => node("mo", text);
const row = (...parts) => node("mrow", ...parts.map((part) => (typeof part === "string" ? sign(part) : part)));
const index = (t) =>
  typeof t === "number" ? node("mn", String(t)) : t === "t-1" ? row(word("t"), "−", node("mn", "1")) : word(t);
const x = (t) => node("msub", word("x"), index(t));
const X = (t) => node("msub", word("X"), index(t));
const law = (name, ...inner) => row(name === "π" ? word("π") : word(name), "(", ...inner, ")");
const given = (name, a, ...rest) => law(name, x(a), "|", ...rest.flatMap((b, i) => (i ? [",", x(b)] : [x(b)])));
const over = (a, b) => node("mfrac", a, b);
const space = () => {
  const gap = node("mspace");
  gap.setAttribute("width", "0.2em");
  return gap;
};
const mean = (...inner) => row(word("𝔼"), space(), ...inner);
const log = (...inner) => row(word("log"), space(), ...inner);
const entropy = (t) => row(node("msub", word("H"), word("q")), "(", X(t), "|", X(0), ")");
const sum = (from, inner) =>
  row(node("munderover", sign("∑"), row(word("t"), "=", node("mn", String(from))), word("T")), inner);

const formula = (inner) => {
  const made = node("math", inner);
  made.setAttribute("displaystyle", "true");
  return made;
};

const PRIOR = { kind: "prior", ink: "muted", sign: "", build: () => mean(log(law("π", x("T")))) };
const EDGE = { kind: "edge", ink: "drift", sign: "+", build: () => mean(log(over(law("π", x(0)), law("π", x(1))))) };
const ENDS = [
  { kind: "entropy T", ink: "data", sign: "+", build: () => entropy("T") },
  { kind: "entropy 1", ink: "limit", sign: "−", build: () => entropy(1) },
];
const STEP = (from, ...below) => ({
  kind: "step",
  ink: "model",
  sign: "+",
  build: () => sum(from, mean(log(over(given("p", "t-1", "t"), given("q", ...below))))),
});
const BACK = {
  kind: "back",
  ink: "model",
  sign: "+",
  build: () => sum(2, mean(log(over(given("p", "t-1", "t"), given("q", "t-1", "t", 0))))),
};
const TURN = {
  kind: "turn",
  ink: "data",
  sign: "+",
  build: () => sum(2, mean(log(over(given("q", "t-1", 0), given("q", "t", 0))))),
};
const KLS = {
  kind: "KL",
  ink: "model",
  sign: "−",
  build: () =>
    sum(2, mean(node("msub", word("D"), word("KL")), "(", given("q", "t-1", "t", 0), "‖", given("p", "t-1", "t"), ")")),
};
const PRINTED = {
  kind: "prior entropy",
  ink: "muted",
  sign: "−",
  build: () => row(node("msub", word("H"), word("p")), "(", X("T"), ")"),
};

const LINES = [
  {
    left: "L",
    relation: "=",
    name: "What we want",
    holds: "a definition",
    why: "The mean log probability that the model gives to data. Here it is had by matrix products: from π back to x₀, one step at a time, and no path is listed.",
    terms: [{ kind: "log p", ink: "data", sign: "", build: () => mean(log(law("p", x(0)))) }],
  },
  {
    left: "",
    relation: "=",
    name: "Multiply and divide by q",
    holds: "exactly, since q can take every path that p can",
    why: "p(x₀) is the mean weight w of forward trajectories from x₀. Now it is a sum over paths.",
    terms: [{ kind: "log E w", ink: "data", sign: "", build: () => mean(log(mean("[", word("w"), "|", x(0), "]"))) }],
  },
  {
    left: "",
    relation: "≥",
    name: "Jensen: the logarithm moves inside",
    holds: "as an inequality; the only one",
    why: "What is lost is the divergence from the forward paths to the paths the model would have taken to x₀.",
    terms: [{ kind: "log w", ink: "model", sign: "", build: () => mean(log(word("w"))) }],
  },
  {
    left: "K",
    relation: "=",
    name: "The logarithm of a product is a sum",
    holds: "for every single path",
    why: "One term for the prior, and one for each step.",
    terms: [PRIOR, STEP(1, "t", "t-1")],
  },
  {
    left: "",
    relation: "=",
    name: "The edge",
    holds: "for every single path",
    why: "The last step back is the forward kernel turned round, which is reversible in π: its ratio to the forward step is π(x₀)/π(x₁).",
    terms: [PRIOR, EDGE, STEP(2, "t", "t-1")],
  },
  {
    left: "",
    relation: "=",
    name: "Markov",
    holds: "for every single path, for t ≥ 2",
    why: "Given the state before, the next one does not care about x₀. So x₀ may be written in, and the number stays.",
    terms: [PRIOR, EDGE, STEP(2, "t", "t-1", 0)],
  },
  {
    left: "",
    relation: "=",
    name: "Bayes turns each step round",
    holds: "for every single path",
    why: "Now both kernels point back. The price is a ratio of leaps from x₀.",
    terms: [PRIOR, EDGE, BACK, TURN],
  },
  {
    left: "",
    relation: "=",
    name: "The ratios telescope",
    holds: "for every path; the entropies in the mean",
    why: "All leaps cancel but the first and the last, and the mean of −log q is an entropy.",
    terms: [PRIOR, EDGE, BACK, ...ENDS],
  },
  {
    left: "",
    relation: "=",
    name: "Average each step by hand",
    holds: "in the mean",
    why: "Take the mean over the state before, given the state at t and x₀: a KL divergence. This is the K that is trained.",
    terms: [PRIOR, EDGE, KLS, ...ENDS],
  },
  {
    left: "",
    relation: "≟",
    name: "As the paper prints it",
    holds: "only if 𝔼 log π(x₀) = −H(π)",
    why: "≟ means: equal under a condition. The prior and the edge are put together as minus the entropy of π. With a fair coin that is right for all data. With any other, the data must look to π as π's own draws do. The dashed bar runs from K to what is printed.",
    terms: [PRINTED, KLS, ...ENDS],
  },
];

const NAMES = {
  law: "the model's own error, KL of q(x₀) from p(x₀)",
  jensen: "Jensen",
  prior: "the last state is not quite π",
};

function render({ model, el }) {
  const figure = openFigure(model, el, "ledger");
  const { root } = figure;
  let settings = structuredClone(model.get("settings"));
  let chosen = 3;

  // --- The ten lines ---
  const rows = LINES.map((line, i) => {
    const number = i + 1;
    const values = [];
    const terms = line.terms.map(({ kind, ink, sign: before, build }) => {
      const value = html("span", { class: "dpm-term-value" });
      values.push({ kind, value });
      const lead = before ? html("span", { class: "dpm-plus" }, before) : "";
      return html(
        "span",
        { class: `dpm-term dpm-ink-${ink}` },
        lead,
        html("span", { class: "dpm-box-term" }, formula(build()), value),
      );
    });
    const value = html("span", { class: "dpm-worth" });
    const bar = svg("svg", { class: "dpm-strip", "aria-hidden": "true" });
    const press = html(
      "button",
      {
        type: "button",
        class: "dpm-line-button",
        "aria-expanded": "false",
        tabindex: i + 1 === chosen ? 0 : -1,
        click: () => choose(number, false),
      },
      html("span", { class: "dpm-line-number" }, String(number)),
      html(
        "span",
        { class: "dpm-formula" },
        html("span", { class: "dpm-relation" }, `${line.left} ${line.relation}`),
        ...terms,
      ),
      value,
    );
    press.addEventListener("keydown", (event) => {
      const next = { ArrowDown: number + 1, ArrowUp: number - 1, Home: 1, End: LINES.length }[event.key];
      if (next === undefined || next < 1 || next > LINES.length) return;
      event.preventDefault();
      choose(next, true);
    });
    const more = html("div", { class: "dpm-more" });
    return { press, value, values, bar, more, item: html("li", {}, press, bar, more) };
  });
  const list = html(
    "ol",
    { class: "dpm-lines", "aria-label": "The lines of the derivation" },
    ...rows.map((each) => each.item),
  );

  function choose(number, focus) {
    chosen = number;
    rows.forEach(({ press }, i) => press.setAttribute("tabindex", i + 1 === number ? 0 : -1));
    if (focus) rows[number - 1].press.focus();
    figure.redraw();
  }

  // --- The two accounts of the gap ---
  const accounts = openPlot(figure, "dpm-accounts");
  const words = html("p", { class: "dpm-detail dpm-account-words", role: "status" });

  function scale(lines, limit) {
    const values = [...lines.map((line) => line.value), limit];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const pad = 0.06 * (high - low) + 1e-9;
    return (value, width) => 8 + ((value - low + pad) / (high - low + 2 * pad)) * (width - 16);
  }

  function drawAccounts(lines, parts, at) {
    const width = sizeOf(accounts).width || 600;
    const K = lines[8].value;
    const marks = [
      [K, "K"],
      [lines[0].value, "L"],
      [parts.limit, "−H(X₀)"],
    ];
    const T = settings.beta.length;
    const steps = Array.from({ length: T }, (_, i) => [`step ${i + 1}`, i ? "model" : "drift"]);
    const splits = [
      [
        ["jensen", "model"],
        ["law", "limit"],
      ],
      [["prior", "muted"], ...steps.reverse()],
    ];
    const children = [];
    splits.forEach((split, r) => {
      let from = K;
      const y = 24 + 26 * r;
      split.forEach(([name, ink], k) => {
        const to = from + parts[name];
        const [a, b] = [at(from, width), at(to, width)];
        const opacity = ink === "model" && name !== "jensen" ? 0.62 + 0.25 * (k % 2) : 0.87;
        children.push(
          svg(
            "rect",
            { x: a, y, width: Math.max(0, b - a), height: 20, class: `dpm-segment dpm-ink-${ink}`, opacity },
            svg("title", {}, `${NAMES[name] ?? name}: ${shown(parts[name])} bits`),
          ),
        );
        const label =
          { jensen: "Jensen", law: "model", prior: "prior", "step 1": "edge" }[name] ?? `t = ${name.slice(5)}`;
        if (b - a > 7.5 * label.length + 4) children.push(text((a + b) / 2, y + 14.5, label, "middle", "dpm-on"));
        from = to;
      });
    });
    marks.forEach(([value, name], i) => {
      const px = at(value, width);
      children.push(line(px, 18, px, i === 1 ? 46 : 72, "dpm-mark"));
      const close = i === 1 && (at(parts.limit, width) - px < 60 || px - at(K, width) < 30);
      if (!close) children.push(text(px, 13, name, i === 2 ? "end" : "start"));
    });
    const printed = at(lines[9].value, width);
    if (Math.abs(inBits(lines[9].value - K)) > 5e-4) {
      children.push(
        svg("path", { d: `M${printed} 74 l-6 10 h12 z`, class: "dpm-printed" }),
        text(printed, 97, "as printed", printed > width - 70 ? "end" : printed < 70 ? "start" : "middle"),
      );
    }
    renew(accounts, ...children);
    const one = `−H(X₀) ${shown(parts.limit, 3)}, L ${shown(lines[0].value, 3)}, K ${shown(K, 3)} bits. `;
    const first = `The gap of ${shown(parts.limit - K, 3)} bits is Jensen ${shown(parts.jensen, 3)} + the model's law ${shown(parts.law, 3)}. `;
    const others = steps
      .slice()
      .reverse()
      .map(([name], i) => `${i ? `t = ${i + 1}` : "edge"} ${shown(parts[name], 3)}`)
      .join(", ");
    const above = lines[9].value > lines[0].value + 1e-9;
    words.textContent = `${one}${first}Or, step by step: prior ${shown(parts.prior, 3)}, ${others}.${above ? " The printed formula lies above L: it bounds nothing." : ""}`;
    attribute(accounts, "aria-label", words.textContent);
  }

  // --- One chosen line: its terms as a staircase from 0 to its value ---
  function staircase({ terms, value: whole }, about) {
    const width = Math.max(260, (list.clientWidth || 600) - 24);
    const label = width < 420 ? 92 : 150;
    const number = 70;
    const sums = [0];
    for (const [, value] of terms) sums.push(sums.at(-1) + value);
    const [low, high] = [Math.min(...sums), Math.max(...sums)];
    const px = (value) => label + ((value - low) / (high - low || 1)) * (width - label - number);
    const inkOf = (name) =>
      about.terms.find(({ kind }) => kind === name || kind === name.replace(/ \d+$/, ""))?.ink ?? "muted";
    const plot = svg("svg", {
      class: "dpm-stairs",
      width,
      height: 22 * (terms.length + 1) + 18,
      "aria-hidden": "true",
    });
    terms.forEach(([name, value], i) => {
      const [a, b] = [px(sums[i]), px(sums[i + 1])];
      plot.append(
        text(0, 22 * i + 15, TERM_NAMES[name] ?? termName(name), "start"),
        rect(`dpm-segment dpm-ink-${inkOf(name)}`, Math.min(a, b), 22 * i + 3, Math.max(1, Math.abs(b - a)), 15),
        line(b, 22 * i + 3, b, 22 * i + 40, "dpm-grid"),
        text(width, 22 * i + 15, shown(value), "end"),
      );
    });
    const y = 22 * terms.length;
    const [a, b] = [px(0), px(whole)];
    plot.append(
      line(a, 0, a, y + 22, "dpm-zero"),
      text(a, y + 35, "0"),
      text(0, y + 15, "the line", "start"),
      rect("dpm-segment dpm-whole", Math.min(a, b), y + 3, Math.abs(b - a), 15),
      text(width, y + 15, shown(whole), "end", "dpm-strong"),
    );
    return plot;
  }
  const TERM_NAMES = {
    prior: "prior",
    edge: "edge",
    "entropy T": "entropy at T",
    "entropy 1": "− entropy at 1",
    "prior entropy": "− entropy of π",
    "log p": "log p",
    "log E w": "log mean w",
    "log w": "log w",
  };
  const termName = (name) =>
    name
      .replace("KL ", "− KL, t = ")
      .replace("step ", "ratio, t = ")
      .replace("back ", "back, t = ")
      .replace("turn ", "leaps, t = ");

  function slack(lines, parts, i) {
    if (i === 0)
      return `L is ${shown(parts.limit - lines[0].value)} bits short of −H(X₀): the KL of the data from the model.`;
    const gap = inBits(lines[i].value - lines[i - 1].value);
    if (i === 2) return `Slack ${fixed(-gap, 4)} bits.`;
    if (i === 9)
      return Math.abs(gap) < 1e-9
        ? "Equal here."
        : `Off by ${fixed(gap, 4)} bits: ${lines[9].value > lines[0].value ? "above log p itself, so no bound" : gap > 0 ? "too high" : "too low"}.`;
    const digits = Math.abs(gap) < 1e-16 ? "0" : minus(Math.abs(gap).toExponential(0));
    const spread = lines[i].spread
      ? ` Largest difference on any of the ${8 ** (settings.beta.length + 1)} paths: ${minus(inBits(lines[i].spread).toExponential(0))}.`
      : "";
    return `Differs from the line before by ${digits} bits: rounding.${spread}`;
  }

  figure.draw = () => {
    const chains = coupledBits(settings);
    const { lines, parts } = account(chains);
    const at = scale(lines, parts.limit);
    drawAccounts(lines, parts, at);
    const width = list.clientWidth || 600;
    rows.forEach(({ press, value, values, bar, more }, i) => {
      const open = i + 1 === chosen;
      press.setAttribute("aria-expanded", String(open));
      press.classList.toggle("dpm-chosen-line", open);
      value.textContent = shown(lines[i].value);
      for (const { kind, value: box } of values) {
        const mine = lines[i].terms.filter(([name]) => name === kind || name.replace(/ \d+$/, "") === kind);
        const worth =
          mine.reduce((total, [, v]) => total + v, 0) *
          (kind === "KL" || kind === "entropy 1" || kind === "prior entropy" ? -1 : 1);
        box.textContent = open ? shown(worth, 3) : "";
      }
      const [K, L] = [lines[i].value, lines[0].value];
      const slackFrom = i === 9 ? lines[8].value : K; // line 10 may be off K: the slack is from K itself
      const off = Math.abs(K - slackFrom) > 1e-9;
      const between = (kind, from, to, y, high) =>
        rect(kind, at(from, width), y, at(to, width) - at(from, width), high);
      renew(
        bar,
        line(8, 5, width - 8, 5, "dpm-grid"),
        between("dpm-segment dpm-ink-model", slackFrom, L, 2, 6),
        between("dpm-segment dpm-ink-limit", L, parts.limit, 2, 6),
        off ? between("dpm-misprint", Math.min(K, slackFrom), Math.max(K, slackFrom), 1, 8) : "",
        circle("dpm-dot", at(K, width), 5, 4),
      );
      const about = LINES[i];
      renew(
        more,
        ...(open
          ? [
              html("p", {}, html("strong", {}, `${about.name}. `), about.why),
              staircase(lines[i], about),
              html("p", { class: "dpm-detail" }, `Holds ${about.holds}. ${slack(lines, parts, i)}`),
            ]
          : []),
      );
    });
    const [likelihood, k, printed] = [0, 8, 9].map((i) => inBits(lines[i].value));
    Object.assign(root.dataset, { line: chosen, k, likelihood, printed });
  };

  // --- Controls ---
  const RANGES = [
    ["coupling", "Coupling of the bits", -1.5, 1.5],
    ["field", "Lean towards 1", -1, 1],
    ["coin", "Prior's coin, P(1)", 0.1, 0.9],
    ["error", "Reverse steps' error", 0, 1],
  ];
  const controls = RANGES.map(([name, label, min, max]) =>
    figure.slider({
      label,
      min,
      max,
      step: 0.05,
      value: settings[name],
      format: (v) => v.toFixed(2),
      set: (v) => (settings[name] = v),
    }),
  );
  const rates = settings.beta.map((b, i) =>
    figure.slider({
      label: `β${"₁₂₃₄"[i]}`,
      min: 0.01,
      max: 1,
      step: 0.01,
      value: b,
      format: (v) => v.toFixed(2),
      set: (v) => (settings.beta[i] = v),
    }),
  );
  const form = figure.chooser({
    label: "Reverse step",
    options: [
      ["bits", "bits apart"],
      ["joint", "bits together"],
    ],
    value: settings.joint ? "joint" : "bits",
    set: (v) => (settings.joint = v === "joint"),
  });
  const all = [...controls.map((each) => each.node), ...rates.map((each) => each.node), form.node];
  figure.add(
    html("div", { class: "dpm-sliders" }, ...all),
    title("Where each bit goes, from K to −H(X₀)"),
    accounts,
    words,
    list,
  );
  figure.onChange("settings", () => {
    settings = structuredClone(model.get("settings"));
    controls.forEach((each, i) => each.set(settings[RANGES[i][0]]));
    rates.forEach((each, i) => each.set(settings.beta[i]));
    form.select.value = settings.joint ? "joint" : "bits";
    figure.redraw();
  });
  figure.redraw();
  return figure.close;
}

export default live(render);
