// The list of events: newest first, bounded, changed when the pace says so; can be held while one reads.

import { flash } from "./flash.js";
import { write } from "./pace.js";

const MOST_ROWS = 200;
const MOST_PENDING = 200;
const CHIPS = { value_put: ["put", "put"], value_deleted: ["deleted", "deleted"] };

const whose = (event) => `${event.mine ? "this page · " : ""}${event.connection}`;
const ANNOUNCEMENTS = {
  connection_opened: (event) => ["opened", whose(event)],
  connection_closed: (event) => ["closed", whose(event)],
  connections: (event) => ["connections", `${event.opened} opened, ${event.closed} closed`],
  process_joined: (event) => ["joined", event.process],
  process_left: (event) => ["left", event.process],
};

export class Log {
  /** `pace` is told when there is something to render, and calls `flush`. */
  constructor(list, { empty, pause }, pace) {
    this.list = list;
    this.empty = empty;
    this.pause = pause;
    this.pace = pace;
    this.pending = [];
    this.missed = 0;
    this.paused = false;
    pause.addEventListener("click", () => this.toggle());
  }

  add(event) {
    this.pending.push(event);
    if (this.pending.length > MOST_PENDING) this.pending.splice(0, this.pending.length - MOST_PENDING);
    if (this.paused) this.missed++;
    this.pace.soon();
  }

  toggle() {
    this.paused = !this.paused;
    this.pause.setAttribute("aria-pressed", String(this.paused));
    this.missed = 0;
    this.pace.now();
  }

  flush() {
    write(this.pause, this.paused ? (this.missed ? `Resume · ${this.missed} new` : "Resume") : "Pause");
    if (this.paused || !this.pending.length) return;
    this.empty.hidden = true;
    const fresh = document.createDocumentFragment();
    for (const event of this.pending) {
      const line = item(event);
      flash(line);
      fresh.prepend(line);
    }
    this.pending = [];
    this.list.prepend(fresh);
    while (this.list.childElementCount > MOST_ROWS) this.list.lastElementChild.remove();
  }
}

function item(event) {
  const line = document.createElement("li");
  const at = new Date(event.at ? event.at * 1000 : Date.now());
  const time = document.createElement("time");
  time.dateTime = at.toISOString();
  time.textContent = at.toLocaleTimeString("en-GB");
  const chip = document.createElement("span");
  const what = document.createElement("span");
  what.className = "what";
  if (event.type === "domain_event") {
    const [name, look] = CHIPS[event.event] ?? [String(event.event), ""];
    chip.className = `chip ${look}`;
    chip.textContent = name;
    const key = document.createElement("b");
    key.textContent = event.key ?? "";
    what.append(key);
    if (event.value !== undefined) what.append(" ", soft(`= ${event.value.length > 300 ? event.value.slice(0, 300) : event.value}`));
    else if (event.size !== undefined) what.append(" ", soft(`${event.size.toLocaleString("en")} bytes`));
    what.title = event.position ?? "";
  } else {
    line.classList.add("connection");
    const [name, text] = ANNOUNCEMENTS[event.type]?.(event) ?? [event.type, ""];
    chip.className = "chip";
    chip.textContent = name;
    what.textContent = text;
  }
  line.append(time, chip, what);
  return line;
}

function soft(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span;
}
