// One card for each camera: picture with heat map, state in words, chart.

import { Chart } from "./chart.js";
import { load, paintHeat } from "./heat.js";
import { clockTime, moment, number, promiseOf, reasonOf, span, stateOf } from "./words.js";

const OLD = 4_000; // pictures come twice a second, from slow cameras more seldom
const SLOWEST = 30_000;

/** Whether a camera's threshold is another than the bundle's. */
export const hasOwn = (camera, threshold) => camera.threshold != null && camera.threshold !== threshold;

export class Camera {
  constructor(name, device) {
    const template = document.getElementById("camera-template");
    this.node = template.content.firstElementChild.cloneNode(true);
    this.name = name;
    this.chart = new Chart(this.node.querySelector(".chart"));
    this.view = this.node.querySelector(".view");
    this.at = null;
    this.period = 0;
    this.busy = false;
    this.wanted = null;
    this.#text(".name", name);
    this.device(device);
  }

  /** What the scores are compared with where the camera has nothing of its own. */
  device(device) {
    this.bundle = device.threshold;
    this.#limit(device.threshold);
  }

  /** How it stands. */
  show(camera, now) {
    this.state = camera.state;
    this.node.dataset.state = camera.state;
    if (camera.threshold != null) this.#limit(camera.threshold);
    const own = hasOwn(camera, this.bundle) && camera.budget_per_week != null;
    this.node.querySelector(".promise").hidden = !own;
    if (own) this.#text(".promise", `Threshold learned here: ${promiseOf(camera)}.`);
    const state = stateOf(camera);
    this.node.querySelector(".glyph path").setAttribute("d", state.path);
    this.#text(".word", state.word);
    const reason = reasonOf(camera);
    const since = camera.state === "live" ? "" : `since ${moment(camera.since, now)}`;
    this.#text(".reason", [since, reason].filter(Boolean).join(": "));
  }

  /** There is another picture; fetched one after the other, and only while somebody can see it. */
  async picture(message) {
    this.wanted = message;
    if (this.busy || document.hidden) return;
    this.busy = true;
    while (this.wanted && !document.hidden) {
      const { n, at } = this.wanted;
      this.wanted = null;
      const base = `/api/v1/cameras/${this.name}`;
      try {
        const [picture, heat] = await Promise.all([load(`${base}/picture.jpg?n=${n}`), load(`${base}/heat.png?n=${n}`)]);
        this.#put(picture, heat, at);
      } catch {
        // It is not there, or the connection is lost, which is told elsewhere.
      }
    }
    this.busy = false;
  }

  /** Draw what depends on the time. */
  tick(now, online, events) {
    this.chart.draw(now, this.name, events);
    const open = events.find((event) => event.phase !== "end");
    this.node.classList.toggle("alarming", Boolean(open));
    const alarm = this.node.querySelector(".alarm");
    alarm.hidden = !open;
    if (open) alarm.textContent = `Event open for ${span((now - Date.parse(open.started_at)) / 1000)}`;
    const age = this.at === null ? 0 : now - this.at;
    const old = this.at !== null && (age > Math.max(OLD, 3 * this.period) || this.state !== "live" || !online);
    this.node.classList.toggle("old", old);
    const note = this.node.querySelector(".age");
    note.hidden = !old;
    if (old) note.textContent = `Old picture: ${clockTime(this.at)}, ${span(age / 1000)} ago`;
  }

  /** How many of its pictures are looked at in a second. */
  rate(perSecond) {
    this.#text(".rate", perSecond ? `${number(perSecond)} pictures a second` : "");
  }

  #limit(threshold) {
    this.chart.threshold = threshold;
    this.#text(".threshold", `threshold ${number(threshold)}`);
  }

  #put(picture, heat, at) {
    picture.className = "picture";
    picture.alt = `Picture of ${this.name}`;
    this.view.querySelector(".nothing")?.remove();
    this.view.querySelector(".picture")?.remove();
    this.view.prepend(picture);
    this.view.style.aspectRatio = `${picture.naturalWidth} / ${picture.naturalHeight}`;
    paintHeat(this.view.querySelector(".heat"), heat, picture);
    const period = at - (this.at ?? at);
    if (period < SLOWEST) this.period = period; // more was an outage
    this.at = at;
  }

  #text(selector, text) {
    const node = this.node.querySelector(selector);
    if (node.textContent !== text) node.textContent = text;
  }
}
