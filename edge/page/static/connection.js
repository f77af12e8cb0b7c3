// The stream of news. It comes back by itself: after a restart, a cut cable, or a full house.

const SILENCE = 15_000; // the device says something every two seconds
const PAUSES = [500, 10_000];

export class Connection {
  /** `handlers` by kind of message; `changed(online, why)` when the connection comes or goes. */
  constructor(handlers, changed) {
    this.handlers = handlers;
    this.changed = changed;
    this.pause = PAUSES[0];
    this.#open();
    setInterval(() => { if (Date.now() - this.heard > SILENCE) this.#lost(); }, 1000);
  }

  #open() {
    this.heard = Date.now();
    this.retry = null;
    const source = (this.source = new EventSource("/api/v1/stream"));
    for (const [kind, handler] of Object.entries(this.handlers)) {
      source.addEventListener(kind, (event) => {
        if (this.source !== source) return;
        this.heard = Date.now();
        if (kind === "board") {
          this.pause = PAUSES[0];
          this.online = true;
          this.changed(true, "");
        }
        handler(JSON.parse(event.data));
      });
    }
    source.onerror = () => { if (this.source === source) this.#lost(); };
  }

  async #lost() {
    this.source?.close();
    this.source = null;
    this.heard = Infinity; // silence is expected now
    if (this.retry) return;
    const pause = this.pause;
    this.pause = Math.min(PAUSES[1], 2 * pause);
    this.retry = setTimeout(() => this.#open(), pause);
    this.online = false;
    const why = await this.#why();
    if (!this.online) this.changed(false, why); // it may have come back while we asked
  }

  /** What stands in the way. An event source does not tell. */
  async #why() {
    try {
      const answer = await fetch("/api/v1/state", { signal: AbortSignal.timeout(3000) });
      if (answer.status === 401) location.assign("/login");
      return answer.ok ? "busy" : "unreachable";
    } catch {
      return "unreachable";
    }
  }
}
