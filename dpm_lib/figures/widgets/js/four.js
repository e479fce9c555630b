// Four coupled bits, and three ladders over them: exact, on finite sets. Nats. Twins: dpm_lib.vae.four_bits and hierarchical.

export const BITS = 4;
export const KINDS = ["autoregressive", "vae", "diffusion"];
export const CODES = [0b0000, 0b0011, 0b1100, 0b1111];
const SHARPNESS = 1.5;
const upTo = (n) => Array.from({ length: n }, (_, i) => i);
const total = (values) => values.reduce((sum, v) => sum + v, 0);
const ones = (x) => (x ? (x & 1) + ones(x >> 1) : 0);
const scaled = (row) => row.map((v) => v / total(row));

/** q(y) of coupled bits: prop. to exp(coupling sum s_i s_{i+1} + field sum s_i). */
export function ising(coupling, field) {
  const spin = (x, i) => 2 * ((x >> (BITS - 1 - i)) & 1) - 1;
  return scaled(
    upTo(2 ** BITS).map((x) => {
      let energy = 0;
      for (let i = 0; i < BITS; i++) energy += field * spin(x, i) + (i ? coupling * spin(x, i - 1) * spin(x, i) : 0);
      return Math.exp(energy);
    }),
  );
}

/** Each of `bits` bits is thrown anew with probability beta, by a fair coin. */
const flips = (bits, beta) =>
  upTo(2 ** bits).map((a) =>
    upTo(2 ** bits).map((b) => {
      const changed = ones(a ^ b);
      return (beta / 2) ** changed * (1 - beta / 2) ** (bits - changed);
    }),
  );

/** A law of strings with its bits made independent, each then replaced by a fair throw with probability error. */
function apart(law, error) {
  const bits = Math.round(Math.log2(law.length));
  const p = upTo(bits).map((i) => (1 - error) * total(law.map((v, x) => ((x >> i) & 1 ? v : 0))) + error / 2);
  return law.map((_, x) => p.reduce((product, one, i) => product * ((x >> i) & 1 ? one : 1 - one), 1));
}

const times = (A, B) => A.map((row) => upTo(B[0].length).map((j) => total(row.map((a, k) => a * B[k][j]))));

/** How many symbols of the string rung l of an autoregressive ladder keeps. */
export const kept = (l, rungs) => Math.ceil((BITS * (rungs - l)) / rungs);

export function encoders(kind, rungs) {
  if (kind === "diffusion") return upTo(rungs).map((i) => flips(BITS, 1 / (rungs - i)));
  if (kind === "vae") {
    const first = upTo(2 ** BITS).map((x) => scaled(CODES.map((code) => Math.exp(-SHARPNESS * ones(x ^ code)))));
    return [first, ...upTo(rungs - 1).map(() => flips(2, 0.5))];
  }
  return upTo(rungs).map((i) => {
    const [a, b] = [kept(i, rungs), kept(i + 1, rungs)];
    return upTo(2 ** a).map((x) => upTo(2 ** b).map((z) => Number(x >> (a - b) === z)));
  });
}

/** The two chains, and the leaps P_enc(z_l | y). generator[l-1][z_l][z_{l-1}], as encoder[l-1][z_{l-1}][z_l]. */
export function ladder({ kind, rungs, error, coupling, field }) {
  const data = ising(coupling, field);
  const encoder = encoders(kind, rungs);
  const leaps = [upTo(data.length).map((i) => upTo(data.length).map((j) => Number(i === j)))];
  for (const table of encoder) leaps.push(times(leaps.at(-1), table));
  const marginals = leaps.map((leap) => times([data], leap)[0]);
  const generator = encoder.map((table, i) =>
    marginals[i + 1].map((_, z) => {
      const back = scaled(marginals[i].map((p, x) => p * table[x][z]));
      if (kind !== "autoregressive") return apart(back, error);
      const size = back.length / marginals[i + 1].length; // the prefix is copied, the rest is written
      const written = apart(back.slice(z * size, (z + 1) * size), error);
      return back.map((_, x) => (Math.floor(x / size) === z ? written[x % size] : 0));
    }),
  );
  return { data, encoder, generator, leaps, marginals, prior: marginals.at(-1) };
}

/** E log one / other over a list of [probability, one, other]; what has probability 0 does not count. */
const kl = (rows) => total(rows.map(([p, one, other]) => (p > 0 ? p * Math.log(one / other) : 0)));

/** Everything about a ladder, in nats: limit -H(y), likelihood, elbo, and by rung: forgot, loss, cost; last: the prior. */
export function account({ data, encoder, generator, leaps, marginals, prior }) {
  const law = generator.reduceRight((p, table) => times([p], table)[0], prior);
  const likelihood = total(data.map((p, y) => p * Math.log(law[y])));
  const limit = total(data.map((p) => p * Math.log(p)));
  const information = leaps.map((leap, l) =>
    kl(data.flatMap((p, y) => leap[y].map((v, z) => [p * v, v, marginals[l][z]]))),
  );
  const loss = encoder.map((table, i) =>
    kl(
      table.flatMap((row, x) =>
        row.map((v, z) => {
          const joint = marginals[i][x] * v;
          return [joint, joint / marginals[i + 1][z], generator[i][z][x]];
        }),
      ),
    ),
  );
  loss.push(kl(prior.map((p, z) => [marginals.at(-1)[z], marginals.at(-1)[z], p])));
  const cost = encoder.map((table, i) => {
    if (i === 0)
      return -total(data.flatMap((p, y) => table[y].map((v, z) => (v > 0 ? p * v * Math.log(generator[0][z][y]) : 0))));
    return kl(
      data.flatMap((p, y) =>
        leaps[i][y].flatMap((before, x) =>
          table[x].map((v, z) => {
            const joint = before * v;
            return [p * joint, joint / leaps[i + 1][y][z], generator[i][z][x]];
          }),
        ),
      ),
    );
  });
  cost.push(kl(data.flatMap((p, y) => leaps.at(-1)[y].map((v, z) => [p * v, v, prior[z]]))));
  const forgot = cost.map((_, i) => information[i] - (information[i + 1] ?? 0));
  return { limit, likelihood, elbo: -total(cost), information, forgot, loss, cost };
}

/** A run of the encoder from y: [y, z_1, ..., z_N]. */
export function climb({ encoder }, y, uniform) {
  const path = [y];
  for (const table of encoder) {
    let u = uniform();
    const row = table[path.at(-1)];
    let z = 0;
    while (z < row.length - 1 && (u -= row[z]) > 0) z++;
    path.push(z);
  }
  return path;
}
