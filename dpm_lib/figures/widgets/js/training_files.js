// What a reader takes away: weights as safetensors that dpm_lib.training.checkpoints.load_model reads, and points as .npy.

/** SHA-256 of bytes, in hexadecimal digits. (The browser's own is kept from pages that come by plain http.) */
export function sha256(bytes) {
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
  const digits = (root) => Math.floor((root - Math.floor(root)) * 2 ** 32) >>> 0;
  const state = Uint32Array.from(primes.slice(0, 8), (p) => digits(Math.sqrt(p)));
  const constants = Uint32Array.from(primes, (p) => digits(Math.cbrt(p)));
  const filled = new Uint8Array(64 * Math.ceil((bytes.length + 9) / 64));
  filled.set(bytes);
  filled[bytes.length] = 0x80;
  const view = new DataView(filled.buffer);
  view.setUint32(filled.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(filled.length - 4, bytes.length << 3);
  const turn = (v, by) => (v >>> by) | (v << (32 - by));
  const w = new Uint32Array(64);
  for (let at = 0; at < filled.length; at += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getUint32(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >>> 3);
      const s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >>> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
      const one = (h + s1 + ((e & f) ^ (~e & g)) + constants[i] + w[i]) | 0;
      const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
      const two = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((v, i) => {
      state[i] += v;
    });
  }
  return Array.from(state, (v) => v.toString(16).padStart(8, "0")).join("");
}

/** JSON as Python's json.dumps(value, sort_keys=True) writes it, for ASCII and numbers that Python reads as they are. */
export function pythonJSON(value) {
  if (typeof value === "number") return pythonNumber(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(pythonJSON).join(", ")}]`;
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}: ${pythonJSON(value[key])}`).join(", ")}}`;
}

/** A number as Python's repr: with an exponent below 1e-4 and from 1e16 on, of two digits at least. */
function pythonNumber(value) {
  const size = Math.abs(value);
  if (size === 0 || (size >= 1e-4 && size < 1e16)) return String(value);
  return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
}

const bytesOf = (text) => new TextEncoder().encode(text);
const joinedBytes = (parts) => {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
};
const raw = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength);

/** A file of tensors { name: { shape, values } }, float32 or float64, with its record: as dpm_lib.core.files writes them. */
export function safetensors(tensors, record) {
  const wide = (name) => tensors[name].values instanceof Float64Array;
  const names = Object.keys(tensors).sort();
  const tuple = (shape) => (shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`);
  const told = names.flatMap((name) => [
    bytesOf(`${name} torch.float${wide(name) ? 64 : 32} ${tuple(tensors[name].shape)} `),
    raw(tensors[name].values),
  ]);
  const sum = sha256(joinedBytes([...told, bytesOf(pythonJSON(record))]));
  const header = { __metadata__: { record: pythonJSON({ ...record, whole_sha256: sum }) } };
  const order = [...names].sort((a, b) => wide(b) - wide(a)); // float64 first: each stands at a multiple of its size
  let end = 0;
  for (const name of order) {
    const { shape, values } = tensors[name];
    header[name] = { dtype: wide(name) ? "F64" : "F32", shape, data_offsets: [end, end + values.byteLength] };
    end += values.byteLength;
  }
  const text = JSON.stringify(header);
  const head = bytesOf(text + " ".repeat((8 - (text.length % 8)) % 8));
  const size = new Uint8Array(8);
  new DataView(size.buffer).setUint32(0, head.length, true);
  return joinedBytes([size, head, ...order.map((name) => raw(tensors[name].values))]);
}

/** The record of a model that the page trained, as dpm_lib.training.checkpoints.load_model asks for it. */
export function modelRecord({ settings, scale, shift, drawing, step }) {
  const roll = drawing.kind === "roll";
  const about = `trained in a page for ${step} steps`;
  const recipe = { name: "in-the-page", about, data: roll ? "swiss-roll" : "drawing.npy", ...settings };
  if (roll) recipe.noise = drawing.noise;
  const data_set = { name: recipe.data, mean: shift, std: 1 / scale };
  return { recipe, dim: 2, data_set };
}

/** A .npy file of points (n, 2), float64. */
export function npy(points) {
  const about = `{'descr': '<f8', 'fortran_order': False, 'shape': (${points.length / 2}, 2), }`;
  const text = `${about.padEnd(64 * Math.ceil((about.length + 11) / 64) - 11)}\n`;
  const head = Uint8Array.from([0x93, ...bytesOf("NUMPY"), 1, 0, text.length & 255, text.length >> 8]);
  return joinedBytes([head, bytesOf(text), raw(points)]);
}

// --- A state in the address. ---

/** A curve with few vertices, none further from the old ones than `most`: Ramer, Douglas and Peucker's. */
export function simplified(points, most = 0.12) {
  if (points.length < 3) return points;
  const [from, to] = [points[0], points.at(-1)];
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = Math.hypot(dx, dy);
  const away = ([x, y]) =>
    length > 0 ? Math.abs((x - from[0]) * dy - (y - from[1]) * dx) / length : Math.hypot(x - from[0], y - from[1]);
  let far = 0;
  for (let i = 1; i < points.length - 1; i++) if (!far || away(points[i]) > away(points[far])) far = i;
  if (away(points[far]) <= most) return [from, to];
  return [...simplified(points.slice(0, far + 1), most), ...simplified(points.slice(far), most).slice(1)];
}

const written = (points) =>
  points
    .flat()
    .map((v) => (Math.round(10 * v) + 400).toString(36))
    .join("."); // prettier-ignore
const readPoints = (text) => {
  const values = text.split(".").map((word) => (Number.parseInt(word, 36) - 400) / 10);
  return values.slice(0, values.length - (values.length % 2)).flatMap((v, i) => (i % 2 ? [] : [[v, values[i + 1]]]));
};

/** A drawing and settings as the fragment of an address, and back; null for one that is none, or damaged. */
export function stateText({ kind, noise, strokes = [], dots = [] }, settings) {
  const fields = { kind, noise, ...settings };
  if (kind === "drawn" && strokes.length) fields.strokes = strokes.map(written).join("_");
  if (kind === "drawn" && dots.length) fields.dots = written(dots);
  return `#train?${new URLSearchParams(fields)}`;
}

export function readState(fragment, defaults) {
  if (!fragment.startsWith("#train?")) return null;
  const fields = new URLSearchParams(fragment.slice(7));
  const drawing = { kind: fields.get("kind"), noise: Number(fields.get("noise")) };
  if (drawing.kind === "drawn") {
    const inside = (points) => points.every(([x, y]) => Math.abs(x) <= 16 && Math.abs(y) <= 16);
    drawing.strokes = (fields.get("strokes") ?? "").split("_").filter(Boolean).map(readPoints);
    drawing.dots = fields.has("dots") ? readPoints(fields.get("dots")) : [];
    if (![...drawing.strokes, drawing.dots].every(inside)) return null;
  }
  const settings = {};
  for (const [name, value] of Object.entries(defaults)) {
    const word = fields.get(name);
    if (word === null) continue;
    settings[name] = typeof value === "number" ? Number(word) : typeof value === "boolean" ? word === "true" : word;
    if (Number.isNaN(settings[name])) return null;
  }
  return { drawing, settings };
}
