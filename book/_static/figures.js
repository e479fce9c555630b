/* Brings the saved figures of a page to life: no kernel, no network, and no other script.

   The notebook's build writes each widget's state into the page as JSON, and a marker where each one stands.
   This script makes a small model of each state, imports the figure's own module from it, and calls its
   render() at the marker. A figure that fails shows its poster and says so; the others go on. */
(function () {
  "use strict";

  document.documentElement.classList.add("figures"); // the posters go: see book.css

  const STATE = "application/vnd.jupyter.widget-state+json";
  const VIEW = "application/vnd.jupyter.widget-view+json";
  const REFERENCE = "IPY_MODEL_";

  function decode(base64) {
    return new DataView(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer);
  }

  /** What a figure sees of its widget: its traits, and events when they change. */
  class Model {
    constructor(record) {
      this.name = record.model_name;
      this.state = Object.assign({}, record.state);
      this.listeners = new Map();
      for (const buffer of record.buffers || []) {
        const path = buffer.path.slice();
        const last = path.pop();
        path.reduce((node, key) => node[key], this.state)[last] = decode(buffer.data);
      }
    }
    get(name) {
      return this.state[name];
    }
    set(name, value) {
      const changes = typeof name === "string" ? { [name]: value } : name;
      const changed = Object.keys(changes).filter((key) => this.state[key] !== changes[key]);
      Object.assign(this.state, changes);
      for (const key of changed) this.fire(`change:${key}`, changes[key]);
      if (changed.length) this.fire("change");
    }
    on(events, listener) {
      for (const event of events.split(/\s+/)) {
        this.listeners.set(event, [...(this.listeners.get(event) || []), listener]);
      }
    }
    off(events, listener) {
      for (const event of events ? events.split(/\s+/) : [...this.listeners.keys()]) {
        const rest = listener ? (this.listeners.get(event) || []).filter((other) => other !== listener) : [];
        this.listeners.set(event, rest);
      }
    }
    fire(event, value) {
      for (const listener of this.listeners.get(event) || []) listener.call(this, this, value);
    }
    save_changes() {} // there is no kernel to save to
    send() {}
  }

  function readModels() {
    const models = new Map();
    const addModel = (id, record) => {
      try {
        models.set(id, new Model(record));
      } catch (error) {
        console.error(`figures: unreadable state of widget ${id}`, error);
      }
    };
    for (const script of document.querySelectorAll(`script[type="${STATE}"]`)) {
      try {
        for (const [id, record] of Object.entries(JSON.parse(script.textContent).state)) addModel(id, record);
      } catch (error) {
        console.error("figures: unreadable widget state", error);
      }
    }
    return models;
  }

  /** Links one trait of a figure to one of another, as jslink and jsdlink ask. */
  function connect(link, models) {
    const [source, target] = ["source", "target"].map((end) => {
      const [reference, trait] = link.get(end);
      return { model: models.get(reference.slice(REFERENCE.length)), trait };
    });
    if (!source.model || !target.model) return;
    const follow = (from, to) => {
      from.model.on(`change:${from.trait}`, () => to.model.set(to.trait, from.model.get(from.trait)));
    };
    follow(source, target);
    if (link.name === "LinkModel") follow(target, source);
    target.model.set(target.trait, source.model.get(source.trait));
  }

  // A widget of the book's build carries the names of its script and sheets (dpm_lib/figures/scripts.py), which stand
  // in files beside this one. A page opened from a disk may not import a file, so each is a plain script that leaves
  // the module's text in `dpmFigures`. A widget of a notebook carries the texts themselves.
  const FOLDER = new URL("figures/", document.currentScript.src);
  const SCRIPT = /^\/\/ dpm_lib: ([\w-]+\.js)\n$/;
  const SHEETS = /^\/\* dpm_lib: ([\w. -]+) \*\/\n$/;
  const texts = (window.dpmFigures ??= {});

  /** Puts an element into the head, and waits for what it names. */
  function fetched(tag, attributes) {
    const element = Object.assign(document.createElement(tag), attributes);
    return new Promise((resolve, reject) => {
      element.onload = () => resolve(element);
      element.onerror = () => reject(new Error(`cannot read ${attributes.src ?? attributes.href}`));
      document.head.append(element);
    });
  }

  async function readScript(source) {
    const [, name] = SCRIPT.exec(source) ?? [];
    if (!name) return source;
    if (!(name in texts)) await fetched("script", { src: new URL(name, FOLDER).href });
    if (!(name in texts)) throw new Error(`${name} holds no figure`);
    return texts[name];
  }

  const sheets = new Map();

  /** The style sheet of this name: the page may have it in its head already. */
  function readSheet(name) {
    const href = new URL(name, FOLDER).href;
    const there = [...document.querySelectorAll("link[rel=stylesheet]")].some((link) => link.href === href);
    return there || fetched("link", { rel: "stylesheet", href });
  }

  const embedSheet = (text) =>
    document.head.append(Object.assign(document.createElement("style"), { textContent: text }));

  /** The style of a figure, once for all that share it. A figure does without one that cannot be read. */
  function addStyle(css) {
    const [, names] = SHEETS.exec(css) ?? [];
    const keys = names ? names.split(" ") : [css];
    for (const key of keys.filter(Boolean)) {
      if (sheets.has(key)) continue;
      const read = Promise.resolve(names ? readSheet(key) : embedSheet(key));
      sheets.set(
        key,
        read.catch((error) => console.error("figures:", error)),
      );
    }
    return Promise.all(keys.map((key) => sheets.get(key)));
  }

  const modules = new Map(); // figures of one kind share their module

  async function readModule(source) {
    const text = await readScript(source);
    const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    return import(address).finally(() => URL.revokeObjectURL(address));
  }

  async function load(model) {
    const source = model.get("_esm");
    if (!modules.has(source)) modules.set(source, readModule(source));
    await addStyle(model.get("_css") ?? "");
    return modules.get(source);
  }

  async function start(model) {
    const module = await load(model);
    const widget = typeof module.default === "function" ? await module.default() : module.default;
    if (widget.initialize) await widget.initialize({ model, experimental: {} });
    return widget;
  }

  /** The picture of the poster before the marker. */
  function findPoster(marker) {
    const cell = marker.closest(".cell_output, .cell") || marker.parentElement;
    const before = (node) => node.compareDocumentPosition(marker) & Node.DOCUMENT_POSITION_FOLLOWING;
    return [...cell.querySelectorAll(".dpm-poster > img")].filter(before).pop();
  }

  function giveUp(marker, place, error) {
    console.error("figures: a figure could not start", error);
    const message = document.createElement("p");
    message.className = "figure-message";
    const poster = findPoster(marker);
    message.textContent = poster
      ? "This figure could not start in your browser. Here is a still picture of it."
      : "This figure could not start in your browser.";
    place.classList.remove("figure-room");
    place.replaceChildren(...(poster ? [poster, message] : [message]));
    place.dataset.figure = "failed";
  }

  // A figure that plays changes itself at every frame. The page is told its height, when that is another one, and need not
  // be laid out to learn it: see .figure-held in book.css.
  const heights = new ResizeObserver((entries) => {
    for (const { target, borderBoxSize } of entries) {
      const place = target.parentElement;
      if (!place) continue;
      place.style.height = `${borderBoxSize[0].blockSize}px`;
      place.classList.add("figure-held");
    }
  });

  async function show(marker, models, started) {
    const room = marker.previousElementSibling; // as high as the figure will be, if the build knows: nothing jumps then
    const place = room?.matches(".figure-room") ? room : document.createElement("div");
    place.classList.add("figure-place");
    place.dataset.figure = "loading";
    marker.before(place);
    try {
      const id = JSON.parse(marker.textContent).model_id;
      const model = models.get(id);
      if (!model) throw new Error(`no state is saved for widget ${id}`);
      if (!started.has(model)) started.set(model, start(model));
      const widget = await started.get(model);
      // Now, and when its reader has put it back.
      place.addEventListener("figure-opened", () => {
        if (place.childElementCount === 1) heights.observe(place.firstElementChild);
      });
      await widget.render({ model, el: place, experimental: {} });
      place.dataset.figure = "ready";
      place.classList.remove("figure-room");
      performance.mark("figure-ready");
    } catch (error) {
      giveUp(marker, place, error);
    }
  }

  const started = new Map(); // by model
  const shown = new Map(); // by marker
  let models;

  function readModelsOnce() {
    if (models) return;
    performance.mark("figures-start");
    models = readModels();
    for (const model of models.values()) {
      if (model.name === "LinkModel" || model.name === "DirectionalLinkModel") connect(model, models);
    }
  }

  /** Starts the figures that have been read so far. */
  function showFigures() {
    readModelsOnce();
    for (const marker of document.querySelectorAll(`script[type="${VIEW}"]`)) {
      if (!shown.has(marker)) shown.set(marker, show(marker, models, started));
    }
    return Promise.all(shown.values());
  }

  // A link into the page leads to its target, also when figures and formulas above it still grow: WebKit does not hold
  // the place. Whoever has moved by then, or comes back, is left in peace.
  function holdPlace() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target || performance.getEntriesByType("navigation")[0]?.type === "back_forward") return;
    const sizes = new ResizeObserver(() => target.scrollIntoView());
    sizes.observe(document.body);
    const letGo = () => sizes.disconnect();
    for (const sign of ["wheel", "touchmove", "keydown", "pointerdown"]) {
      window.addEventListener(sign, letGo, { once: true, passive: true });
    }
    window.addEventListener("load", () => setTimeout(letGo, 5000));
  }

  const showAll = () => {
    holdPlace();
    return showFigures().then(() => performance.mark("figures-done"));
  };

  // The first figure as soon as it has been read: its page says when (book/_ext/figure_files.py). The others when the
  // whole page has, and before the scripts of the theme, which wait for that too.
  document.addEventListener("figure-read", showFigures, { once: true });
  if (document.readyState === "loading") document.addEventListener("readystatechange", showAll, { once: true });
  else showAll();
})();
