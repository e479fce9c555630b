// Points on the line as a histogram, below the density that they should have.

import { renew } from "./common.js";
import { evenly, rect, scales } from "./plot.js";

/** `bars` are densities in equal slots from -side to side; `room` leaves the curve's top some space. */
export function histogram(hill, bars, density, side, room) {
  const truth = evenly(-side, side, 290).map((v) => [v, density(v)]);
  const top = room * Math.max(...truth.map(([, p]) => p));
  const plot = scales(hill, { left: 0, right: 0, top: 4, bottom: 18 }, [-side, side], [0, top], { held: "y" });
  const slot = plot.width / bars.length;
  renew(
    hill,
    ...Array.from(bars, (p, i) => rect("dpm-walkers", i * slot + 0.3, plot.y(p), slot - 0.6, plot.floor - plot.y(p))),
    plot.curve("dpm-law dpm-ink-limit", truth),
    plot.axis(),
    ...plot.marks([-2, -1, 0, 1, 2]),
  );
}
