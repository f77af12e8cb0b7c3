// The list of events, and the large view of one.

import { load, paintHeat } from "./heat.js";
import { endOf, heading, moment, number, span } from "./words.js";

const MOST = 200;

export class Events {
  constructor(now) {
    this.now = now;
    this.list = document.getElementById("events");
    this.byId = new Map(); // newest first is the order of the list, not of this
    this.items = new Map();
    this.detail = new Detail(this);
    this.list.addEventListener("keydown", (event) => this.#move(event));
  }

  /** Newest first. */
  all() {
    return [...this.list.children].map((item) => this.byId.get(item.dataset.id));
  }

  of(camera) {
    return [...this.byId.values()].filter((event) => event.camera === camera);
  }

  open() {
    return [...this.byId.values()].filter((event) => event.phase !== "end");
  }

  /** Replace all by a list, newest first; what has the focus keeps it. */
  reset(events) {
    const known = new Set(events.map((event) => event.id));
    for (const id of this.byId.keys()) if (!known.has(id)) this.#drop(id);
    for (const event of [...events].reverse()) this.show(event);
  }

  /** Show one, new or changed. True if it is new. */
  show(event) {
    const fresh = !this.byId.has(event.id);
    const before = this.byId.get(event.id);
    this.byId.set(event.id, event);
    if (fresh) {
      const template = document.getElementById("event-template");
      const item = template.content.firstElementChild.cloneNode(true);
      item.dataset.id = event.id;
      item.firstElementChild.addEventListener("click", () => this.detail.open(event.id));
      this.items.set(event.id, item);
      this.list.prepend(item);
      while (this.list.children.length > MOST) this.#drop(this.list.lastElementChild.dataset.id);
    }
    this.#fill(this.items.get(event.id), event, before);
    if (this.detail.id === event.id) this.detail.show(event);
    document.getElementById("no-events").hidden = this.byId.size > 0;
    document.getElementById("count").textContent = this.byId.size ? `${this.byId.size}, newest first` : "";
    return fresh;
  }

  #fill(item, event, before) {
    const text = (selector, value) => { item.querySelector(selector).textContent = value; };
    item.classList.toggle("alarming", event.phase !== "end");
    text(".phase", heading(event));
    text(".name", event.camera);
    const time = item.querySelector("time");
    time.dateTime = event.started_at;
    time.textContent = moment(event.started_at, this.now());
    text(".length", event.phase === "end" ? span(event.duration_s) : "");
    text(".why", event.why);
    text(".figures", figures(event));
    if (event.snapshot && event.snapshot.path !== before?.snapshot?.path) {
      const image = document.createElement("img");
      image.loading = "lazy";
      image.alt = "";
      image.src = event.snapshot.path;
      image.addEventListener("error", () => { image.replaceWith("no picture any more"); });
      item.querySelector(".thumb").replaceChildren(image);
    } else if (!event.snapshot) {
      text(".thumb", "no picture");
    }
  }

  #drop(id) {
    this.items.get(id).remove();
    this.items.delete(id);
    this.byId.delete(id);
  }

  #move(event) {
    const item = document.activeElement?.closest("#events > li");
    const next = {
      ArrowDown: item?.nextElementSibling,
      ArrowUp: item?.previousElementSibling,
      Home: this.list.firstElementChild,
      End: this.list.lastElementChild,
    }[event.key];
    if (!next) return;
    event.preventDefault();
    next.firstElementChild.focus();
  }
}

class Detail {
  constructor(events) {
    this.events = events;
    this.id = null;
    this.dialog = document.getElementById("detail");
    document.getElementById("close").addEventListener("click", () => this.dialog.close());
    document.getElementById("newer").addEventListener("click", () => this.#step(-1));
    document.getElementById("older").addEventListener("click", () => this.#step(1));
    this.dialog.addEventListener("keydown", (event) => {
      if (event.target instanceof HTMLVideoElement) return; // there the arrows wind
      if (event.key === "ArrowLeft") this.#step(-1);
      if (event.key === "ArrowRight") this.#step(1);
    });
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
    this.dialog.addEventListener("close", () => {
      const item = this.events.items.get(this.id);
      this.id = null;
      document.getElementById("clip").pause();
      item?.firstElementChild.focus();
    });
  }

  open(id) {
    this.id = id;
    document.getElementById("detail-view").replaceChildren();
    this.shown = null;
    this.show(this.events.byId.get(id));
    if (!this.dialog.open) this.dialog.showModal();
    document.getElementById("detail-title").focus();
  }

  show(event) {
    const now = this.events.now();
    document.getElementById("detail-title").textContent =
      `${event.camera}, ${moment(event.started_at, now)}: ${heading(event).toLowerCase()}`;
    document.getElementById("detail-why").textContent = event.why;
    document.getElementById("facts").replaceChildren(...facts(event, now));
    this.#clip(event);
    const all = this.events.all();
    const place = all.indexOf(event);
    document.getElementById("newer").disabled = place <= 0;
    document.getElementById("older").disabled = place < 0 || place >= all.length - 1;
    if (event.snapshot && this.shown !== event.snapshot.path) this.#picture(event);
    if (!event.snapshot) document.getElementById("detail-view").textContent = "No picture was taken.";
  }

  async #picture(event) {
    const path = (this.shown = event.snapshot.path);
    const view = document.getElementById("detail-view");
    try {
      const [picture, heat] = await Promise.all([load(path), event.heatmap ? load(event.heatmap.path) : null]);
      if (this.shown !== path || this.id !== event.id) return;
      picture.className = "picture";
      picture.alt = `Peak of the event on ${event.camera}. ${event.why}`;
      const canvas = document.createElement("canvas");
      canvas.className = "heat";
      canvas.setAttribute("aria-hidden", "true");
      if (heat) paintHeat(canvas, heat, picture);
      view.replaceChildren(picture, canvas);
    } catch {
      if (this.shown === path) view.textContent = "The picture is not kept any more.";
    }
  }

  #clip(event) {
    const clip = document.getElementById("clip");
    clip.hidden = !event.clip;
    const path = event.clip?.path ?? "";
    if (clip.getAttribute("src") === path || (!path && !clip.hasAttribute("src"))) return;
    if (path) clip.src = path;
    else clip.removeAttribute("src");
    clip.setAttribute("aria-label", `Clip of the event on ${event.camera}`);
  }

  #step(by) {
    const all = this.events.all();
    const next = all[all.findIndex((event) => event.id === this.id) + by];
    if (next) this.open(next.id);
  }
}

function figures(event) {
  const zones = event.zones?.length ? ` · ${event.zones.join(", ")}` : "";
  return `peak ${number(event.peak_score)}, threshold ${number(event.threshold)}${zones}`;
}

function facts(event, now) {
  const ended = event.phase === "end";
  const rows = [
    ["Began", moment(event.started_at, now)],
    ["Ended", ended ? `${moment(event.ended_at, now)}, ${endOf(event)}` : "still open"],
    ["Lasted", ended ? span(event.duration_s) : `${span(event.duration_s)} so far`],
    ["Peak score", number(event.peak_score)],
    ["Threshold", number(event.threshold) + (event.provisional ? ", provisional" : "")],
    ["Zones", (event.zones ?? []).join(", ")],
    ["Streams", Object.entries(event.streams ?? {}).map(([name, value]) => `${name} ${number(value)}`).join(", ")],
    ["Clock", event.clock === "unsynced" ? "not set: times may be wrong" : ""],
    ["Id", event.id],
  ];
  return rows.filter(([, value]) => value).map(([term, value]) => {
    const row = document.createElement("div");
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = term;
    dd.textContent = value;
    row.append(dt, dd);
    return row;
  });
}
