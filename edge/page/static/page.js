// The page: what the device says, shown.

import { Camera, hasOwn } from "./cameras.js";
import { Connection } from "./connection.js";
import { Events } from "./events.js";
import { clockTime, number, promiseOf, stateOf } from "./words.js";

const $ = (id) => document.getElementById(id);
const cameras = new Map();
const states = new Map();
let device = { name: "vigil", threshold: 0 };
let online = null; // null: not known yet
let lostAt = null;
let scoring = true;
let ahead = 0; // the device's clock minus ours, ms

const now = () => Date.now() + ahead;
const events = new Events(now);

function say(text) {
  $("news").textContent = text;
}

function cameraOf(name) {
  if (!cameras.has(name)) {
    const camera = new Camera(name, device);
    cameras.set(name, camera);
    $("cameras").append(camera.node);
  }
  return cameras.get(name);
}

function board(message) {
  device = message.device;
  for (const camera of cameras.values()) camera.node.remove();
  const before = new Map(cameras);
  cameras.clear();
  states.clear();
  beat(message.beat);
  for (const status of message.cameras) {
    const known = before.get(status.name);
    if (known) { // keeps its picture, which is told to be old until there is a new one
      known.device(device);
      cameras.set(status.name, known);
      $("cameras").append(known.node);
    }
    camera({ camera: status, quiet: true });
  }
  for (const [name, points] of Object.entries(message.scores)) cameraOf(name).chart.set(points);
  events.reset(message.events);
  for (const [name, picture] of Object.entries(message.pictures)) cameraOf(name).picture(picture);
  $("device").textContent = device.name;
  $("model").textContent = model();
  refresh();
  tick();
}

/** These are the cameras, and no others any more. */
function only({ names }) {
  for (const [name, one] of cameras) {
    if (names.includes(name)) continue;
    one.node.remove();
    cameras.delete(name);
    states.delete(name);
  }
  refresh();
}

function camera(message) {
  const status = message.camera;
  const before = states.get(status.name);
  states.set(status.name, status);
  cameraOf(status.name).show(status, now());
  if (!message.quiet && before && before.state !== status.state) {
    say(`Camera ${status.name}: ${stateOf(status).word}`);
  }
  refresh();
  $("model").textContent = model();
}

function event(message) {
  const { event: one } = message;
  const fresh = events.show(one);
  if (fresh || one.phase === "end") {
    say(`${fresh ? "New event" : "Event ended"} on camera ${one.camera}. ${one.why}`);
  }
  refresh();
  tick();
}

function beat(message) {
  if (message.now) ahead = message.now - Date.now();
  scoring = message.scoring;
  for (const [name, one] of cameras) one.rate(message.rates[name]);
}

/** The bundle's threshold and promise, of those cameras alone that go by it; and what runs. */
function model() {
  const learned = [...states.values()].filter((status) => hasOwn(status, device.threshold)).length;
  const what = `Model ${device.model} (${device.unit}), vigil ${device.release}.`;
  if (learned && learned === states.size) return what;
  const where = learned ? ", where a camera has not learned its own" : "";
  return `Threshold ${number(device.threshold)}${where}: ${promiseOf(device)}. ${what}`;
}

/** What stands in the header and the title. */
function refresh() {
  const live = [...states.values()].filter((status) => status.state === "live").length;
  const wanted = [...states.values()].filter((status) => status.state !== "disabled").length;
  const open = events.open().length;
  const parts = [
    wanted ? `${live} of ${wanted} ${wanted === 1 ? "camera" : "cameras"} live` : "No camera at work",
    open ? `${open} ${open === 1 ? "event" : "events"} open` : "no event open",
  ];
  const text = online === null ? "Connecting" : online ? parts.join(", ") : "Not connected";
  if ($("summary").textContent !== text) $("summary").textContent = text;
  $("summary").classList.toggle("alarming", online === true && open > 0);
  document.title = `${open ? `(${open} open) ` : ""}${device.name} · vigil`;
  const trouble = troubles(wanted);
  $("trouble").hidden = !trouble;
  if ($("trouble").textContent !== trouble) $("trouble").textContent = trouble;
  document.body.classList.toggle("offline", online === false);
}

function troubles(wanted) {
  if (online === false) {
    const why = lostAt.why === "busy" ? "Too many viewers. " : "";
    return `${why}No connection to ${device.name} since ${clockTime(lostAt.at)}. What is shown is old. Trying again.`;
  }
  if (online && wanted && !scoring) return "The device has stopped looking at pictures. Events may be missed.";
  return "";
}

function connected(is, why) {
  if (is && online === false) say(`Connected again to ${device.name}`);
  if (!is && online !== false) lostAt = { at: now(), why };
  if (!is) lostAt.why = why;
  online = is;
  refresh();
}

function tick() {
  const time = now();
  $("clock").textContent = clockTime(time);
  for (const one of cameras.values()) one.tick(time, online === true, events.of(one.name));
}

function heat(on) {
  $("heat").setAttribute("aria-pressed", String(on));
  document.body.classList.toggle("no-heat", !on);
  try {
    localStorage.setItem("vigil-heat", on ? "on" : "off");
  } catch {
    // Storage may be forbidden; then it is on at each start.
  }
}

function remembered() {
  try {
    return localStorage.getItem("vigil-heat") !== "off";
  } catch {
    return true;
  }
}

const score = ({ camera: name, at, score: value }) => cameraOf(name).chart.push(at, value);
const picture = (message) => cameraOf(message.camera).picture(message);

heat(remembered());
$("heat").addEventListener("click", () => heat($("heat").getAttribute("aria-pressed") !== "true"));
document.addEventListener("visibilitychange", tick);
new Connection({ board, camera, cameras: only, event, score, picture, beat: (message) => { beat(message); refresh(); } }, connected);
setInterval(tick, 500);
