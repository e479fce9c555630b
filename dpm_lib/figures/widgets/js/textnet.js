// The network for text, in the page: dilated convolutions over characters. Twin of dpm_lib.networks.text_network.

import { numbers } from "./common.js";

const TAPS = 5;
const DILATIONS = [1, 2, 4, 8, 16];
const EPS = 1e-5; // of a layer norm
const YIELD = 8; // places, between which the page may do other things

/** A number in half precision, from its 16 bits. */
export function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

/** From the tensors' bytes in half precision, one behind the other, and their [name, shape] in that order. */
export function readNetwork(bytes, shapes) {
  const values = Float32Array.from(numbers(bytes, Uint16Array), half);
  const tensors = {};
  let at = 0;
  for (const [name, shape] of shapes) {
    const size = shape.reduce((a, b) => a * b, 1);
    tensors[name] = values.subarray(at, at + size);
    at += size;
  }
  if (at !== values.length) throw new Error(`${values.length} numbers where the shapes need ${at}`);
  const depth = shapes.filter(([name]) => name.endsWith("look.weight")).length;
  const width = tensors["norm.weight"].length;
  const part = (l, name) => tensors[`layers.${l}.${name}`];
  const layers = Array.from({ length: depth }, (_, l) => ({
    apart: DILATIONS[l % DILATIONS.length],
    ...{ scale: part(l, "norm.weight"), shift: part(l, "norm.bias") },
    ...{ look: part(l, "look.weight"), lookBias: part(l, "look.bias") },
    ...{ say: part(l, "say.weight"), sayBias: part(l, "say.bias") },
  }));
  const ends = { letters: tensors.letters, scale: tensors["norm.weight"], shift: tensors["norm.bias"] };
  return {
    ...ends,
    layers,
    out: tensors["out.weight"],
    outBias: tensors["out.bias"],
    width,
    S: tensors["out.bias"].length,
  };
}

/** Row `i` of `from`, normed, to row `j` of `to`. */
function norm(from, i, to, j, { scale, shift }, width) {
  let mean = 0;
  for (let c = 0; c < width; c++) mean += from[i * width + c];
  mean /= width;
  let variance = 0;
  for (let c = 0; c < width; c++) variance += (from[i * width + c] - mean) ** 2;
  const by = 1 / Math.sqrt(variance / width + EPS);
  for (let c = 0; c < width; c++) to[j * width + c] = (from[i * width + c] - mean) * by * scale[c] + shift[c];
}

/** to[start + j] (+)= bias[j] + the product of row j of `weight` with the `size` numbers of `x`, four sums side by side. */
function linear(weight, bias, x, size, to, start, isAdded) {
  const even = size & ~3;
  for (let j = 0; j < bias.length; j++) {
    const row = j * size;
    let [s0, s1, s2, s3] = [bias[j], 0, 0, 0];
    for (let c = 0; c < even; c += 4) {
      s0 += weight[row + c] * x[c];
      s1 += weight[row + c + 1] * x[c + 1];
      s2 += weight[row + c + 2] * x[c + 2];
      s3 += weight[row + c + 3] * x[c + 3];
    }
    for (let c = even; c < size; c++) s0 += weight[row + c] * x[c];
    const sum = s0 + s1 + s2 + s3;
    if (isAdded) to[start + j] += sum;
    else to[start + j] = sum;
  }
}

/** The places of a string of `length` at which a layer's output differs, if its input does at `changed`. */
function reached(changed, apart, length) {
  const found = new Set();
  for (const i of changed) {
    for (let tap = 0; tap < TAPS; tap++) {
      const to = i + (tap - (TAPS - 1) / 2) * apart;
      if (to >= 0 && to < length) found.add(to);
    }
  }
  return [...found];
}

/**
 * Logits of what stands at `places` of x, of numbers 0..S: a generator that returns them, [place * S + token], zeros elsewhere.
 * `memory` keeps what each layer gave; with it the next string, of the same length, is computed only where it differs.
 */
export function* logitsOf(net, x, places = x.map((_, i) => i), memory = {}) {
  const { width, S, layers } = net;
  const [length, inner] = [x.length, TAPS * width];
  const isKnown = memory.x?.length === length;
  let changed = x.flatMap((token, i) => (isKnown && token === memory.x[i] ? [] : [i]));
  if (!isKnown) {
    memory.h = Array.from({ length: layers.length + 1 }, () => new Float32Array(length * width));
    memory.normed = layers.map(() => new Float32Array(length * width));
  }
  memory.x = null; // who is dropped on the way leaves no half of a memory
  const seen = new Float32Array(inner);
  const hidden = new Float32Array(2 * width);
  for (const i of changed) memory.h[0].set(net.letters.subarray(x[i] * width, (x[i] + 1) * width), i * width);
  for (const [l, layer] of layers.entries()) {
    const [h, next, normed] = [memory.h[l], memory.h[l + 1], memory.normed[l]];
    for (const i of changed) norm(h, i, normed, i, layer, width);
    changed = l === layers.length - 1 ? places : reached(changed, layer.apart, length);
    for (const [n, i] of changed.entries()) {
      for (let tap = 0; tap < TAPS; tap++) {
        const from = i + (tap - (TAPS - 1) / 2) * layer.apart;
        if (from >= 0 && from < length) seen.set(normed.subarray(from * width, (from + 1) * width), tap * width);
        else seen.fill(0, tap * width, (tap + 1) * width);
      }
      linear(layer.look, layer.lookBias, seen, inner, hidden, 0, false);
      for (let j = 0; j < 2 * width; j++) hidden[j] /= 1 + Math.exp(-hidden[j]);
      next.set(h.subarray(i * width, (i + 1) * width), i * width);
      linear(layer.say, layer.sayBias, hidden, 2 * width, next, i * width, true);
      if (n % YIELD === 0) yield;
    }
  }
  const logits = new Float32Array(length * S);
  const last = new Float32Array(width);
  for (const i of places) {
    norm(memory.h.at(-1), i, last, 0, net, width);
    linear(net.out, net.outBias, last, width, logits, i * S, false);
  }
  memory.x = [...x];
  return logits;
}

/** The probabilities of the S tokens at a place. */
export function chancesAt(logits, place, S) {
  const row = Array.from(logits.subarray(place * S, (place + 1) * S));
  const top = Math.max(...row);
  const weights = row.map((v) => Math.exp(v - top));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / total);
}
