// What every figure shares: building the page, theme colours, canvases, controls, animation, numbers.

// --- Elements. Strings become text nodes, never HTML. ---

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

export const html = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

/**
 * Makes the children of `node` like the new nodes or strings `wanted`, and touches only what differs: what stays the same
 * is neither styled nor laid out again. None of them may be a node that the figure holds, or have a listener.
 */
export function renew(node, ...wanted) {
  const old = [...node.childNodes];
  wanted.forEach((item, i) => {
    const next = typeof item === "object" ? item : document.createTextNode(item);
    if (!old[i]) node.append(next);
    else if (!liken(old[i], next)) old[i].replaceWith(next);
  });
  for (const rest of old.slice(wanted.length)) rest.remove();
}

const drawnFor = new WeakMap();

/** Draws into `node` what `make()` returns, unless it was drawn for the same `about` before. */
export function renewFor(node, about, make) {
  const key = JSON.stringify(about);
  if (drawnFor.get(node) === key) return;
  renew(node, ...make());
  drawnFor.set(node, key);
}

/** Turns `old` into a copy of `next`; false where that needs a node of another kind. */
function liken(old, next) {
  if (old.nodeName !== next.nodeName) return false;
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return true;
  }
  for (const { name, value } of next.attributes) attribute(old, name, value);
  if (old.attributes.length > next.attributes.length) {
    for (const { name } of [...old.attributes]) next.hasAttribute(name) || old.removeAttribute(name);
  }
  renew(old, ...next.childNodes);
  return true;
}

/** Writes an attribute if it is another. */
export const attribute = (node, name, value) =>
  node.getAttribute(name) === String(value) || node.setAttribute(name, value);

/** Writes the words of a node that holds nothing else. */
export function say(node, words) {
  if (node.firstChild?.nodeType === Node.TEXT_NODE && !node.firstChild.nextSibling) {
    if (node.firstChild.data !== String(words)) node.firstChild.data = words;
  } else node.textContent = words;
}

// --- Numbers. ---

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** The numbers in a DataView, copied, since a view may start at an address that is not aligned. */
export const numbers = (view, Type) => new Type(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

export const fixedPoint = (view, scale) => Float32Array.from(numbers(view, Int16Array), (v) => v * scale);

/** A generator of uniform numbers in (0, 1): a counter whose bits are mixed; the same for the same seed. */
export function uniforms(seed) {
  let counter = Math.imul(seed + 1, 0x9e3779b1);
  return () => {
    counter = (counter + 0x9e3779b9) | 0;
    let bits = Math.imul(counter ^ (counter >>> 16), 0x21f0aaad);
    bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
    return (((bits ^ (bits >>> 15)) >>> 0) + 0.5) / 4294967296;
  };
}

/** Fills an array with standard normal numbers, two from each turn of Box and Muller's method. */
export function fillNormals(array, uniform) {
  for (let i = 0; i < array.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    array[i] = radius * Math.cos(angle);
    if (i + 1 < array.length) array[i + 1] = radius * Math.sin(angle);
  }
  return array;
}

// --- Theme. The page's own switch comes first, then what the page looks like; print is always light. ---

function isDark() {
  if (matchMedia("print").matches) return false;
  const page = document.documentElement;
  const named = page.dataset.theme ?? page.getAttribute("theme"); // this book; Colab
  if (named === "dark" || named === "light") return named === "dark";
  const { jpThemeLight, vscodeThemeKind } = document.body.dataset; // JupyterLab; VS Code
  if (jpThemeLight) return jpThemeLight === "false";
  if (vscodeThemeKind) return /dark|high-contrast$/.test(vscodeThemeKind);
  for (const node of [document.body, page]) {
    const [red, green, blue, alpha = 1] = getComputedStyle(node)
      .backgroundColor.match(/[\d.]+/g)
      .map(Number);
    if (alpha > 0) return 0.3 * red + 0.6 * green + 0.1 * blue < 128;
  }
  const mayBeDark = getComputedStyle(page).colorScheme.includes("dark");
  return mayBeDark && matchMedia("(prefers-color-scheme: dark)").matches;
}

function watchTheme(changed) {
  const observer = new MutationObserver(changed);
  for (const node of [document.documentElement, document.body]) observer.observe(node, { attributes: true });
  const queries = ["print", "(prefers-color-scheme: dark)"].map((query) => matchMedia(query));
  for (const query of queries) query.addEventListener("change", changed);
  return () => {
    observer.disconnect();
    for (const query of queries) query.removeEventListener("change", changed);
  };
}

const followed = new WeakMap(); // sizes of nodes

/** The size of a node that a figure follows with `onResize`, without making the browser lay the page out to know it. */
export const sizeOf = (node) => followed.get(node) ?? { width: node.clientWidth, height: node.clientHeight };

const FRAME = 1 / 60; // seconds
const SLICE = 8; // milliseconds

const COLOURS = ["data", "model", "drift", "limit", "ink", "muted", "line", "panel"];

// --- The figure. ---

/** The figure that stands in an element: for `live` (view.js). */
export const figureIn = new WeakMap();

/** Is `value` of the shape of `model`, with finite numbers? What an address brings may be anything. */
function isLike(value, model) {
  if (Array.isArray(model)) {
    return Array.isArray(value) && value.length === model.length && value.every((item, i) => isLike(item, model[i]));
  }
  return typeof value === typeof model && (typeof value !== "number" || Number.isFinite(value));
}

/** The still picture that a notebook shows before the figure, as long as no kernel holds the figure. */
function posterBefore(root) {
  const all = [...document.querySelectorAll(".dpm-poster, .dpm-figure")];
  const before = all[all.indexOf(root) - 1];
  return before?.matches(".dpm-poster") ? before : null;
}

/**
 * Opens a figure inside `el`. The caller adds nodes with `add`, sets `draw`, and returns `close` from
 * render(). `draw({ all })` runs at most once per animation frame; `all` says that colours or sizes changed.
 */
export function openFigure(model, el, name) {
  const caption = html("figcaption");
  const root = html("figure", { class: `dpm-figure dpm-${name}`, role: "group" }, caption);
  const figure = { root, name, kept: [], colours: {}, draw() {}, add: (...nodes) => caption.before(...nodes) };
  figureIn.set(el, figure);
  // A notebook takes every key for itself: arrows change its cell, letters edit it. Its own chords go through.
  // JupyterLab hears a key after the figure; Notebook hears it before, and passes over who has the attribute.
  const isChord = (event) => event.ctrlKey || event.metaKey || event.altKey;
  const keepKey = (event) =>
    root.contains(event.target) && event.target.toggleAttribute("data-lm-suppress-shortcuts", !isChord(event));
  root.addEventListener("keydown", (event) => isChord(event) || event.stopPropagation());
  window.addEventListener("keydown", keepKey, true);
  const closers = [() => window.removeEventListener("keydown", keepKey, true)];
  let request = 0;
  let all = true;
  let poster;

  function paint() {
    request = 0;
    const start = performance.now();
    if (all) {
      poster ??= posterBefore(root);
      if (poster) poster.hidden = true;
      readColours();
    }
    figure.draw({ all });
    all = false;
    performance.clearMeasures("figure-frame"); // the list would grow for as long as the figure plays
    performance.measure("figure-frame", { start, end: performance.now() });
  }
  figure.redraw = () => {
    request ||= requestAnimationFrame(paint);
  };
  figure.redrawAll = () => {
    all = true;
    figure.redraw();
  };

  function readColours() {
    const style = getComputedStyle(root);
    for (const colour of COLOURS) figure.colours[colour] = style.getPropertyValue(`--dpm-${colour}`).trim();
  }
  function recolour() {
    const dark = String(isDark());
    if (root.dataset.dark === dark) return;
    root.dataset.dark = dark;
    figure.redrawAll();
    if (matchMedia("print").matches) paint(); // printing does not wait for an animation frame
  }

  function describe() {
    root.setAttribute("aria-label", model.get("label"));
    caption.textContent = model.get("caption");
  }
  figure.onChange = (names, action) => {
    const events = names
      .split(" ")
      .map((trait) => `change:${trait}`)
      .join(" ");
    model.on(events, action);
    closers.push(() => model.off(events, action));
  };

  const sizes = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      followed.set(target, { width: Math.round(contentRect.width), height: Math.round(contentRect.height) });
      if (target.tagName !== "CANVAS") continue;
      target.width = Math.round(contentRect.width * devicePixelRatio);
      target.height = Math.round(contentRect.height * devicePixelRatio);
    }
    figure.redrawAll();
  });
  figure.onResize = (node) => sizes.observe(node);
  /** A canvas that follows its size on the page; a picture to a screen reader, or nothing without a label. */
  figure.canvas = (label) => {
    const about = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
    const canvas = html("canvas", about);
    sizes.observe(canvas);
    return canvas;
  };

  /**
   * Calls `advance(seconds)` at every frame while playing and on the screen; a removed figure is not. For `pause()` seconds
   * nothing will change, and no frame is asked for.
   */
  figure.playButton = (advance, pause = () => 0) => {
    let playing = false;
    let timer = 0;
    let slept = 0;
    let visible = true;
    let last = null;
    let tick = 0;
    const button = html("button", { type: "button", class: "dpm-play", click: () => set(!playing) });
    function step(now) {
      tick = 0;
      if (!playing || !visible) return;
      advance(last === null ? 0 : Math.min(0.1 + slept, (now - last) / 1000));
      last = now;
      resume();
    }
    function wake() {
      timer = 0;
      tick ||= requestAnimationFrame(step);
    }
    function resume() {
      if (!playing || !visible || tick || timer) return;
      slept = clamp(pause() - FRAME, 0, 0.2);
      if (slept > FRAME) timer = setTimeout(wake, 1000 * slept);
      else wake();
    }
    function set(value) {
      playing = value;
      last = null;
      button.textContent = playing ? "Pause" : "Play";
      root.dataset.playing = playing;
      resume();
    }
    const sight = new IntersectionObserver((entries) => {
      visible = entries.at(-1).isIntersecting; // several may come at once; the last one holds
      last = null;
      resume();
    });
    sight.observe(root);
    // Whoever takes hold of time has it.
    root.addEventListener("input", ({ target }) => playing && target.closest(".dpm-time") && set(false));
    closers.push(
      () => sight.disconnect(),
      () => cancelAnimationFrame(tick),
      () => clearTimeout(timer),
      () => (playing = false),
    );
    set(false);
    return { node: button, button, set };
  };
  /** The same for what moves by whole steps, `rate()` of them a second: `advance(count)`. */
  figure.playSteps = (rate, advance) => {
    let owed = 0;
    const act = (seconds) => {
      owed += seconds * rate();
      const count = Math.floor(owed);
      owed -= count;
      if (count) advance(count);
    };
    return figure.playButton(act, () => (1 - owed) / rate());
  };

  function hold(setting) {
    while (figure.kept.some(({ key }) => key === setting.key)) setting.key += " again";
    figure.kept.push(setting);
  }
  /**
   * What else than controls a link to a view must hold: `read()` gives numbers, in lists if it likes (null for nothing), and
   * `write` takes them back, if they pass `check`; their ranges are its own affair.
   */
  figure.keep = (key, read, write, check = (value) => isLike(value, read())) => {
    const rounded = (_, value) => (typeof value === "number" ? Number(value.toPrecision(6)) : value);
    hold({
      key,
      rank: 3,
      read: () => (read() === null ? null : JSON.stringify(read(), rounded)),
      write(words) {
        const value = JSON.parse(words);
        if (read() !== null && check(value)) write(value);
      },
    });
  };

  /** Controls bound to the figure's state: `set(value)` writes what the reader chose; then `after()`, or a redraw. */
  const bound =
    (make) =>
    ({ set, after = figure.redraw, ...options }) => {
      const act = (value) => {
        set(value);
        after();
      };
      const control = make({ ...options, act });
      hold({ key: options.label, ...control.kept });
      return make === checkbox ? control.node : control;
    };
  Object.assign(figure, {
    slider: bound(slider),
    chooser: bound(chooser),
    presetChooser: bound(presetChooser),
    checkbox: bound(checkbox),
  });

  /**
   * Work that would hold the page up, in slices: `steps()` is a generator, between whose yields the page may do other things.
   * The first slice is done at once; a new call drops what is left of the last.
   */
  figure.inSlices = (steps) => {
    let current = null;
    const go = (work) => {
      if (work !== current) return;
      const end = performance.now() + SLICE;
      do {
        if (!work.next().done) continue;
        current = null;
        delete root.dataset.busy;
        return;
      } while (performance.now() < end);
      setTimeout(go, 0, work);
    };
    closers.push(() => (current = null));
    return () => {
      current = steps();
      root.dataset.busy = true;
      go(current);
    };
  };

  figure.close = () => {
    cancelAnimationFrame(request);
    sizes.disconnect();
    for (const close of closers) close();
    root.remove();
    if (poster) poster.hidden = false;
  };

  figure.onChange("label caption", describe);
  describe();
  el.append(root);
  recolour();
  closers.push(watchTheme(recolour));
  return figure;
}

/** Does the reader ask for less motion? Looked up each time, since the answer can change. */
export const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// --- Controls. A figure makes them as its own: see `openFigure`. ---

/** A labelled range with its value in words; `set` moves it without a word to the figure. */
function slider({ label, min, max, step = 1, value, format = String, wide = false, act }) {
  const range = html("input", { type: "range", min, max, step, value });
  const words = html("span", { class: "dpm-value" });
  const show = () => {
    const shown = String(format(range.valueAsNumber));
    say(words, shown);
    attribute(range, "aria-valuetext", shown);
  };
  range.addEventListener("input", () => {
    act(range.valueAsNumber);
    show(); // after it, for the words may depend on what has been set
  });
  show();
  const kind = `dpm-control dpm-range${wide ? " dpm-time" : ""}`;
  const node = html("label", { class: kind }, html("span", {}, label), range, words);
  const set = (next) => {
    if (range.value !== String(next)) range.value = next;
    show();
  };
  const kept = { rank: 2, read: () => range.value, write: (next) => typed(range, "value", next, "input") };
  return { node, range, set, kept };
}

/** Sets a control as its reader would. */
function typed(control, property, value, event) {
  control[property] = value;
  control.dispatchEvent(new Event(event, { bubbles: true }));
}

/** A labelled select; `options` are [value, text] pairs, or texts. */
function chooser({ label, options, value, act }) {
  const pairs = options.map((option) => [option].flat());
  const select = html("select", {}, ...pairs.map(([key, text = key]) => html("option", { value: key }, text)));
  select.value = value;
  let last = select.value; // that could be chosen: not "your own"
  select.addEventListener("change", () => {
    last = select.value;
    act(last);
  });
  const node = html("label", { class: "dpm-control" }, html("span", {}, label), select);
  const isOwn = () => Boolean(select.selectedOptions[0]?.disabled);
  const kept = {
    rank: 1,
    read: () => (isOwn() ? last + OWN : select.value),
    write(words) {
      const wanted = words.endsWith(OWN) ? words.slice(0, -OWN.length) : words;
      const known = [...select.options].some((option) => option.value === wanted && !option.disabled);
      if (known) typed(select, "value", wanted, "change");
    },
    after: (words) =>
      words.endsWith(OWN) && select.lastElementChild?.disabled && (select.selectedIndex = select.length - 1),
  };
  return { node, select, kept };
}

const OWN = "*"; // behind the name of a preset that the reader has changed

/** A chooser of presets; its last entry says that the reader has changed one, and cannot be chosen. */
function presetChooser({ names, value = names[0], ...options }) {
  const preset = chooser({ options: [...names, "your own"], value, ...options });
  preset.select.lastChild.disabled = true;
  preset.kept.rank = 0;
  return preset;
}

function checkbox({ label, checked = false, act }) {
  const box = html("input", { type: "checkbox", checked });
  box.addEventListener("change", () => act(box.checked));
  const node = html("label", { class: "dpm-control" }, box, html("span", {}, label));
  const write = (words) => typed(box, "checked", words === "1", "change");
  return { node, kept: { rank: 1, read: () => (box.checked ? "1" : "0"), write } };
}

/** A button; `actions` are called one after the other. */
export const button = (label, ...actions) =>
  html("button", { type: "button", click: () => actions.forEach((act) => act()) }, label);

/**
 * Makes `node` a handle: `step(by, event)` at each key of `keys`, and `drag(event, held)` while a pointer holds it, with
 * `held` what `take(event)` returned when it took hold.
 */
export function draggable(node, { keys, step, take, drag }) {
  let held;
  node.addEventListener("keydown", (event) => {
    const by = keys[event.key];
    if (by === undefined) return;
    event.preventDefault();
    step(by, event);
  });
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId);
    node.focus({ preventScroll: true });
    event.preventDefault();
    held = take?.(event);
  });
  node.addEventListener("pointermove", (event) => node.hasPointerCapture(event.pointerId) && drag(event, held));
}

/** A row of controls. */
export const controls = (...parts) => html("div", { class: "dpm-controls" }, ...parts.map((part) => part.node ?? part));

// --- Words about a plot. ---

export const title = (words, unit) =>
  html("p", { class: "dpm-title" }, words, ...(unit ? [html("span", { class: "dpm-unit" }, unit)] : []));

/** What the colours of a plot stand for: { colour: words }. */
export const keys = (words) =>
  html(
    "p",
    { class: "dpm-detail dpm-keys" },
    ...Object.entries(words).map(([ink, text]) => html("span", { class: `dpm-ink-${ink}` }, text)),
  );

// --- Drawing. ---

/** The context of a canvas, cleared and ready to draw and write on. */
export function cleared(canvas, background) {
  const context = canvas.getContext("2d");
  context.globalAlpha = 1;
  context.fillStyle = background;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.lineWidth = 1.5 * devicePixelRatio;
  context.setLineDash([]);
  context.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  return context;
}

/** A map from the square [-extent, extent]^2 to a canvas, cleared and ready to draw on. */
export function openSquare(canvas, extent, background) {
  const context = cleared(canvas, background);
  const scale = canvas.width / (2 * extent);
  return { context, x: (v) => (v + extent) * scale, y: (v) => (extent - v) * scale, pixel: devicePixelRatio };
}

/** Draws the first `count` points of a flat array [x, y, x, y, ...] as small squares. */
export function drawPoints({ context, x, y, pixel }, points, count, { colour, size = 2, alpha = 0.6 }) {
  const side = size * pixel;
  context.fillStyle = colour;
  context.globalAlpha = alpha;
  for (let i = 0; i < 2 * count; i += 2) {
    context.fillRect(x(points[i]) - side / 2, y(points[i + 1]) - side / 2, side, side);
  }
  context.globalAlpha = 1;
}
