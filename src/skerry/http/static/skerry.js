// skerry.js: a page that stays fresh. Listens to a Skerry application's events over WebSocket (or server-sent events
// where that is blocked), resumes by position after a break, and loads a snapshot when there is nothing to resume.
// It knows nothing of what the events mean and touches no element of the page.
//
//   import { connect } from "/_skerry/skerry.js";
//   const stream = connect("/events", {
//     snapshot: true,
//     onSnapshot(rows, position) { ... },   // all current values: replace what is shown
//     onEvent(event) { ... },               // one change, in order, each once
//     onState(state) { ... },               // connecting, catching-up, live, waiting, denied, closed
//   });
//
// A server that goes silent without closing is noticed: it says every how many seconds it will be heard (hello.beat),
// and who hears nothing for that long and 10 s more connects anew.
// Types: skerry.d.ts. Order promise: after onSnapshot(rows, P) come exactly the events after P; after a break either
// exactly the missed events come, or onSnapshot again (without `snapshot`: onLost).

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 15_000;
const HELLO_TIMEOUT_MS = 10_000;
const LATE_BEAT_MS = 10_000;
const RESTART = 1012;
const DENIED = 1008;

/** Split "EPOCH:NUMBER". */
export function parsePosition(text) {
  const cut = typeof text === "string" ? text.lastIndexOf(":") : -1;
  return cut < 1 ? null : { epoch: text.slice(0, cut), offset: Number(text.slice(cut + 1)) };
}

/** A pause that doubles with each failure, with jitter, so that a thousand pages do not return in one moment. */
export function pauseBefore(failures, random = Math.random) {
  const whole = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 16));
  return whole * (0.5 + 0.5 * random());
}

/** Where the application begins, behind a proxy that puts it under a path: this module stands at ROOT_skerry/skerry.js. */
export function rootOf(module) {
  const { origin, pathname } = new URL(module);
  const own = "_skerry/skerry.js";
  return origin === globalThis.location?.origin && pathname.endsWith(`/${own}`) ? pathname.slice(0, -own.length) : "/";
}

/** A path of the application as its clients reach it; whatever is no such path, or begins with the root, as it is. */
export function under(root, url) {
  const text = String(url);
  return /^\/(?!\/)/.test(text) && !text.startsWith(root) ? root + text.slice(1) : url;
}

export function connect(url, options = {}) {
  return new Stream(url, options);
}

class Stream {
  constructor(url, options) {
    this.options = options;
    this.position = options.since ?? null;
    this.transport = options.transport === "sse" ? "sse" : "websocket";
    this.state = { phase: "connecting", transport: this.transport, failures: 0, retryAt: null, position: this.position };
    this.hello = null;
    this.failures = 0;
    this.link = null;
    this.rows = null;
    this.timer = null;
    this.heardAt = 0;
    this.url = new URL(under(rootOf(import.meta.url), url), globalThis.location?.href);
    this.onReturn = () => {
      if (this.state.phase === "waiting" && globalThis.document?.visibilityState !== "hidden") this.retry();
    };
    globalThis.addEventListener?.("online", this.onReturn);
    globalThis.document?.addEventListener("visibilitychange", this.onReturn);
    // Not before connect() has returned: callbacks may use what it returns.
    queueMicrotask(() => this.open());
  }

  /** Connect now instead of after the pause. */
  retry() {
    if (this.state.phase === "closed" || this.link) return;
    clearTimeout(this.timer);
    this.open();
  }

  /** End for good. */
  close() {
    clearTimeout(this.timer);
    globalThis.removeEventListener?.("online", this.onReturn);
    globalThis.document?.removeEventListener("visibilitychange", this.onReturn);
    this.drop();
    this.enter("closed");
  }

  // --- connecting

  open() {
    if (this.state.phase === "closed") return;
    this.enter("connecting");
    this.hello = this.rows = null;
    const target = new URL(this.url);
    if (this.position) target.searchParams.set("since", this.position);
    if (this.options.snapshot) target.searchParams.set("snapshot", "1");
    if (this.options.prefix) target.searchParams.set("prefix", this.options.prefix);
    target.searchParams.set("beat", "1");
    this.timer = setTimeout(() => this.lost(0), HELLO_TIMEOUT_MS);
    try {
      this.link = this.transport === "sse" ? this.openSse(target) : this.openSocket(target);
    } catch {
      this.lost(0); // blocked by a policy of the page, for instance
    }
  }

  openSocket(target) {
    target.protocol = target.protocol.replace("http", "ws");
    const socket = new WebSocket(target);
    const mine = (then) => (event) => { if (this.link === socket) then(event); };
    socket.onmessage = mine((event) => this.heard(event.data));
    socket.onclose = mine((event) => this.lost(event.code));
    return socket;
  }

  openSse(target) {
    const source = new EventSource(target, { withCredentials: true });
    const mine = (then) => (event) => { if (this.link === source) then(event); };
    source.onmessage = mine((event) => this.heard(event.data));
    source.onerror = mine(() => this.lost(0)); // its own retry would not spread a crowd
    return source;
  }

  drop() {
    const link = this.link;
    this.link = null;
    link?.close();
  }

  lost(code) {
    const greeted = this.hello !== null;
    clearTimeout(this.timer);
    this.drop();
    if (this.state.phase === "closed") return;
    if (code === DENIED) this.probe(); // the session has ended: no use in coming again
    if (greeted) this.failures = 0;
    else if (++this.failures >= 2) {
      this.probe();
      this.fallBack();
    }
    let pause = pauseBefore(this.failures);
    // A restart sends everybody away at once: come back spread over two seconds.
    if (code === RESTART && greeted) pause = 100 + Math.random() * 2000;
    this.enter("waiting", Date.now() + pause);
    this.timer = setTimeout(() => this.open(), pause);
  }

  /** Some networks let no WebSocket through, some no stream: take turns until one greets us. */
  fallBack() {
    if (this.options.transport && this.options.transport !== "auto") return;
    if (typeof EventSource === "undefined") return;
    this.transport = this.transport === "websocket" ? "sse" : "websocket";
  }

  /** A refused handshake does not tell a page why. Ask: 401 and 403 do not get better by trying again. */
  async probe() {
    try {
      const answer = await fetch(this.url, { method: "HEAD", headers: { Accept: "text/event-stream" } });
      if ((answer.status === 401 || answer.status === 403) && this.state.phase === "waiting") {
        clearTimeout(this.timer);
        this.enter("denied");
      }
    } catch {
      // The server is away: keep trying.
    }
  }

  // --- hearing

  heard(data) {
    this.heardAt = Date.now();
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return; // not ours
    }
    if (event.type === "hello") this.greeted(event);
    else if (this.hello === null || event.type === "beat") return;
    else if (event.type === "snapshot") this.rows?.push(...event.values);
    else if (event.type === "snapshot_end") this.loaded(event);
    else if (event.type === "caught_up") this.caughtUp(event);
    else this.told(event);
  }

  greeted(hello) {
    clearTimeout(this.timer);
    this.hello = hello;
    this.failures = 0;
    if (hello.beat > 0) this.listenFor(hello.beat * 1000 + LATE_BEAT_MS);
    const before = this.position;
    if (hello.snapshot) this.rows = [];
    else this.position = hello.position;
    this.options.onHello?.(hello);
    if (!hello.recovered && !hello.snapshot && before !== null) this.options.onLost?.(hello);
    this.enter(hello.snapshot || hello.recovered ? "catching-up" : "live");
  }

  /** Give the link up when nothing at all came for so long. The time since the last frame counts, not the timer: a
      page in the background has late timers. */
  listenFor(silence) {
    const left = this.heardAt + silence - Date.now();
    if (left <= 0) this.lost(0);
    else this.timer = setTimeout(() => this.listenFor(silence), left);
  }

  loaded(end) {
    const rows = this.rows ?? [];
    this.rows = null;
    this.position = end.position;
    this.options.onSnapshot?.(rows, end.position);
    this.enter("live");
  }

  caughtUp(event) {
    this.position = event.position;
    this.enter("live");
  }

  told(event) {
    if (event.position !== undefined) {
      const at = parsePosition(event.position);
      const here = parsePosition(this.position);
      if (at && here && at.epoch === here.epoch && at.offset <= here.offset) return; // told before
      this.position = event.position;
    }
    this.options.onEvent?.(event);
  }

  enter(phase, retryAt = null) {
    this.state = {
      phase, retryAt, transport: this.transport, failures: this.failures,
      position: this.position, process: this.hello?.process ?? null,
    };
    this.options.onState?.(this.state);
  }
}
