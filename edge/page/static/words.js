// Words for people. States and reasons are said in words and drawn as shapes, never by colour alone.

export const STATES = {
  live: { word: "Live", path: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z" },
  connecting: { word: "Connecting", path: "M8 2a6 6 0 1 0 0 12zM8 2v1.6a4.4 4.4 0 0 1 0 8.8V14A6 6 0 0 0 8 2z" },
  stale: { word: "No new picture", path: "M7 1h2v7h4v2H7z" },
  frozen: { word: "Picture frozen", path: "M3 2h4v12H3zM9 2h4v12H9z" },
  lost: { word: "Lost", path: "M3.4 2 8 6.6 12.6 2 14 3.4 9.4 8l4.6 4.6-1.4 1.4L8 9.4 3.4 14 2 12.6 6.6 8 2 3.4z" },
  backoff: { word: "Lost, will try again", path: "M3.4 2 8 6.6 12.6 2 14 3.4 9.4 8l4.6 4.6-1.4 1.4L8 9.4 3.4 14 2 12.6 6.6 8 2 3.4z" },
  quarantined: { word: "Needs a person", path: "M8 1 15.5 15H.5zM7 6v5h2V6zm0 6v2h2v-2z" },
  disabled: { word: "Off", path: "M2 7h12v2H2z" },
};

const REASONS = {
  open_timeout: "no picture came",
  no_frames: "pictures have stopped",
  picture_unchanged: "the picture does not change at all",
  capture_failed: "it cannot be read",
  refused: "it refuses the login",
  no_process: "no reader can be started for it",
  internal_error: "vigil made a mistake with it; it is tried again",
  memory: "its reader used too much memory and is replaced",
  unkillable: "its reader cannot be ended; restart this device",
};

const FLAGS = {
  dark: "too dark to see",
  recommission_required: "it shows another view: it must learn anew",
  scene_changed: "a part of it looks changed for good, and is not watched",
};

const ENDS = {
  normal: "it fell quiet",
  source_ended: "the recording ended",
  stopped: "vigil was stopped",
  camera_lost: "the camera was lost",
  camera_frozen: "the picture froze",
  geometry_changed: "the picture changed its size",
  reconfigured: "the configuration was changed",
  daemon_restart: "vigil was restarted",
  max_duration: "it had lasted for too long; it goes on as another event",
  scene_changed: "it had stayed for too long; that place counts as normal until it has changed back",
};

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const minute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export const clockTime = (ms) => time.format(ms);
export const shortTime = (ms) => minute.format(ms);

/** "21:14:03", with the day where that is not today. */
export function moment(text, now) {
  const ms = Date.parse(text);
  const today = new Date(ms).toDateString() === new Date(now).toDateString();
  return today ? time.format(ms) : `${day.format(ms)}, ${time.format(ms)}`;
}

/** "4 s", "2 min 5 s", "3 h 12 min": two figures at most. */
export function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const number = (value) => (Math.abs(value) < 100 ? value.toFixed(1) : whole.format(value));
export const endOf = (event) => ENDS[event.reason] ?? event.reason ?? "";
export const stateOf = (camera) => STATES[camera.state] ?? { word: camera.state, path: STATES.disabled.path };
export const heading = (event) => (event.phase === "end" ? "Ended" : "Open");

/** What a threshold promises, of the bundle or of a camera that has learned its own. */
export function promiseOf({ provisional, proven_per_week: proven, budget_per_week: budget }) {
  return provisional
    ? `provisional: proven at most ${number(proven)} false alarms a week, wanted ${number(budget)}`
    : `at most ${number(budget)} false alarms a week`;
}

/** Why a camera stands as it does. */
export function reasonOf(camera) {
  const reason = camera.reason ? [REASONS[camera.reason] ?? camera.reason] : [];
  return [...reason, ...camera.flags.map((flag) => FLAGS[flag] ?? flag)].join("; ");
}
