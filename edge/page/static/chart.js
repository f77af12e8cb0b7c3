// Score against threshold over the last minutes, as SVG: a line, the threshold, events below.

import { clockTime, number, shortTime, span } from "./words.js";

const MINUTE = 60_000;
const LONGEST = 10 * MINUTE;
const SHORTEST = 2 * MINUTE; // a page that was just opened is not mostly empty
const GAP = 5_000; // no score for so long: nothing was looked at, and no line may hide that
const PAD = { left: 34, right: 8, top: 6, bottom: 18 };
const SVG = "http://www.w3.org/2000/svg";

let numbered = 0;

export class Chart {
  /** `figure` holds an svg and a caption; set `threshold`, in the unit of the scores, before drawing. */
  constructor(figure) {
    this.figure = figure;
    this.svg = figure.querySelector("svg");
    this.threshold = 0;
    this.points = [];
    this.clip = `above-${numbered++}`;
    this.svg.addEventListener("pointermove", (event) => this.#probe(event));
    this.svg.addEventListener("pointerleave", () => this.#unprobe());
  }

  set(points) {
    this.points = points;
  }

  push(at, score) {
    this.points.push([at, score]);
    const oldest = at - LONGEST;
    while (this.points.length && this.points[0][0] < oldest) this.points.shift();
  }

  /** Draw what there was before `now`, with the `events` of this camera. */
  draw(now, name, events) {
    const { clientWidth: width, clientHeight: height } = this.svg;
    if (width === 0) return;
    const seen = this.points.filter(([at]) => at >= now - LONGEST);
    const age = seen.length ? now - seen[0][0] : 0;
    const length = Math.min(LONGEST, Math.max(SHORTEST, Math.ceil(age / MINUTE) * MINUTE));
    const peak = seen.reduce((most, [, score]) => Math.max(most, score), 0);
    const top = Math.max(this.threshold * 1.6, peak * 1.1, 1e-6);
    const x = (at) => PAD.left + ((at - now + length) / length) * (width - PAD.left - PAD.right);
    const y = (score) => height - PAD.bottom - (Math.max(0, score) / top) * (height - PAD.top - PAD.bottom);
    this.scale = { now, width, length };
    const line = path(seen, x, y);
    const level = y(this.threshold);
    const limits = { x: PAD.left, width: Math.max(0, width - PAD.left - PAD.right) };
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(
      make("clipPath", { id: this.clip }, make("rect", { ...limits, y: 0, height: level })),
      make("rect", { class: "over", ...limits, y: PAD.top, height: Math.max(0, level - PAD.top) }),
      ...this.#axes(now, length, x, y, top, width, height),
      make("path", { class: "score", d: line }),
      make("path", { class: "score above", d: line, "clip-path": `url(#${this.clip})` }),
      make("line", { class: "limit", x1: PAD.left, x2: width - PAD.right, y1: level, y2: level }),
      ...events.map((event) => bar(event, now, length, x, y(0))).filter(Boolean),
      make("line", { class: "probe-line", y1: PAD.top, y2: height - PAD.bottom, visibility: "hidden" }),
    );
    const last = seen.at(-1);
    this.figure.querySelector(".now").textContent = last && now - last[0] < GAP ? number(last[1]) : "–";
    this.svg.setAttribute("aria-label", this.#summary(name, seen, peak, now, length));
  }

  #summary(name, seen, peak, now, length) {
    const minutes = length / MINUTE;
    if (!seen.length) return `Score of ${name}: nothing in the last ${minutes} minutes`;
    const over = seen.filter(([, score]) => score > this.threshold);
    const last = over.at(-1);
    const crossed = last ? `above it last ${span((now - last[0]) / 1000)} ago` : "never above it";
    return `Score of ${name} in the last ${minutes} minutes: highest ${number(peak)}, ` +
      `threshold ${number(this.threshold)}, ${crossed}`;
  }

  #axes(now, length, x, y, top, width, height) {
    const parts = [];
    const label = (value) => make("text", { class: "tick", x: PAD.left - 4, y: y(value) + 4, "text-anchor": "end" }, number(value));
    parts.push(label(0), label(this.threshold));
    if (y(this.threshold) - y(top) > 24) parts.push(label(top));
    const step = length > 5 * MINUTE ? 2 * MINUTE : length > 2 * MINUTE ? MINUTE : MINUTE / 2;
    const label_of = step < MINUTE ? clockTime : shortTime;
    for (let at = Math.ceil((now - length) / step) * step; at <= now; at += step) {
      if (x(at) < PAD.left + 26 || x(at) > width - 30) continue;
      parts.push(make("line", { class: "grid", x1: x(at), x2: x(at), y1: PAD.top, y2: height - PAD.bottom }));
      parts.push(make("text", { class: "tick", x: x(at), y: height - 4, "text-anchor": "middle" }, label_of(at)));
    }
    parts.push(make("line", { class: "axis", x1: PAD.left, x2: width - PAD.right, y1: y(0), y2: y(0) }));
    return parts;
  }

  #probe(event) {
    if (!this.scale || !this.points.length) return;
    const { now, width, length } = this.scale;
    const share = (event.offsetX - PAD.left) / (width - PAD.left - PAD.right);
    const at = now - length + share * length;
    const near = this.points.reduce((best, one) => (Math.abs(one[0] - at) < Math.abs(best[0] - at) ? one : best));
    const text = Math.abs(near[0] - at) > GAP ? "not looked at" : number(near[1]);
    this.figure.querySelector(".probe").textContent = `${clockTime(at)}: ${text}`;
    const line = this.svg.querySelector(".probe-line");
    for (const key of ["x1", "x2"]) line.setAttribute(key, event.offsetX);
    line.setAttribute("visibility", "visible");
  }

  #unprobe() {
    this.figure.querySelector(".probe").textContent = "";
    this.svg.querySelector(".probe-line")?.setAttribute("visibility", "hidden");
  }
}

/** One highest point for each column of pixels; a gap ends the line. */
function path(points, x, y) {
  let text = "";
  let before = -Infinity;
  let column = null;
  const put = () => { if (column) text += `${column.pen}${column.x},${y(column.score).toFixed(1)}`; };
  for (const [at, score] of points) {
    const here = Math.round(x(at));
    const gap = at - before > GAP;
    if (column && !gap && column.x === here) {
      column.score = Math.max(column.score, score);
    } else {
      put();
      column = { x: here, score, pen: gap ? "M" : "L" };
    }
    before = at;
  }
  put();
  return text;
}

function bar(event, now, length, x, base) {
  const start = Date.parse(event.started_at);
  const end = event.phase === "end" ? Date.parse(event.ended_at) : now;
  if (end < now - length) return null;
  const left = x(Math.max(start, now - length));
  return make("rect", { class: "span", x: left, y: base - 2, width: Math.max(3, x(Math.min(end, now)) - left), height: 5 });
}

function make(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
