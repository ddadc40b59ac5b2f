// The page put together: the stream on one side, table, list, chart and words on the other.

import { connect } from "../_skerry/skerry.js";
import { Chart } from "./chart.js";
import { Editing } from "./editing.js";
import { Log } from "./log.js";
import { Pace, write } from "./pace.js";
import { Table } from "./table.js";

const $ = (id) => document.getElementById(id);
const body = document.body;
const number = (n) => n.toLocaleString("en");
const pace = new Pace(() => {
  table.flush();
  log.flush();
});

// --- table and editing

const table = new Table($("rows"), {
  edit: (key) => editing.edit(key),
  remove: (key) => editing.remove(key),
  changedWhileEditing: (key) => editing.changedWhileEditing(key),
  settled(shown, matching, total) {
    write($("count"), table.filter ? `${number(matching)} of ${number(total)}` : number(total));
    $("empty").hidden = total > 0;
    $("more").hidden = shown >= matching && (matching > 0 || total === 0);
    write($("more").firstElementChild, matching ? `${number(shown)} of ${number(matching)} shown. ` : "Nothing matches the filter.");
    $("show-more").hidden = shown >= matching;
  },
}, pace);

const page = {
  button(name, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", act);
    return button;
  },
  toast(text, undo = null) {
    const toast = $("toast"), button = toast.querySelector("button");
    toast.querySelector(".text").textContent = text;
    button.hidden = undo === null;
    button.onclick = () => { toast.hidden = true; undo(); };
    toast.hidden = false;
    page.fade(undo ? 20_000 : 4_000);
  },
  /** Hide the toast after a while, but not from under a pointer or the focus. */
  fade(milliseconds) {
    clearTimeout(page.fading);
    page.fading = setTimeout(() => {
      if ($("toast").matches(":hover, :focus-within")) page.fade(milliseconds);
      else $("toast").hidden = true;
    }, milliseconds);
  },
  /** A write was answered: if its event is here already, show it at once. */
  applied() {
    pace.now();
  },
};
const editing = new Editing(table, page);

// --- events

const log = new Log($("events"), { empty: $("no-events"), pause: $("pause") }, pace);
const chart = new Chart($("chart"), $("rate"));
let mine = null;
let unsaid = { put: 0, deleted: 0, last: "" };

function entryOf(event) {
  return { value: event.value ?? null, size: event.value === undefined ? event.size ?? 0 : null, position: event.position };
}

const complete = table.size >= Number(body.dataset.total);
const stream = connect(eventsUrl(), {
  snapshot: true,
  since: complete ? body.dataset.position : null,
  onHello(hello) {
    mine = hello.connection;
  },
  onSnapshot(rows, position) {
    table.load(rows.map((row) => [row.key, entryOf({ ...row, position: row.position ?? position })]));
  },
  onEvent(event) {
    chart.count();
    if (event.type === "domain_event") {
      if (event.event === "value_put") {
        table.set(event.key, entryOf(event));
        unsaid.put++;
      } else if (event.event === "value_deleted") {
        table.delete(event.key);
        editing.deleted(event.key);
        unsaid.deleted++;
      }
      unsaid.last = event.key ?? "";
    } else if (event.connection !== undefined) event.mine = event.connection === mine;
    log.add(event);
  },
  onState: show,
});

function eventsUrl() {
  const given = body.dataset.events;
  // A gateway listens on another port of the host that this page came from, whatever that host is called here.
  return given.startsWith(":") ? `${location.protocol}//${location.hostname}${given}` : given;
}

// --- words about the connection

const WORDS = {
  connecting: "Connecting…", "catching-up": "Catching up…", live: "Live", waiting: "Offline", denied: "Not allowed", closed: "Closed",
};

let everLive = false;
function show(state) {
  const banner = $("banner");
  const node = $("state");
  node.dataset.phase = state.phase;
  node.querySelector(".word").textContent = WORDS[state.phase];
  const where = [state.transport === "sse" ? "event stream" : "WebSocket", state.process].filter(Boolean);
  node.querySelector(".detail").textContent = state.phase === "live" ? where.join(" · ") : "";
  const cut = state.phase === "waiting" || state.phase === "denied" || (state.phase === "connecting" && (everLive || state.failures > 0));
  if (state.phase === "live") everLive = true;
  body.classList.toggle("stale", cut);
  banner.hidden = !cut;
  $("retry").hidden = state.phase === "denied";
  retryAt = state.phase === "waiting" ? state.retryAt : null;
  banner.dataset.phase = state.phase;
  sayBanner();
}

let retryAt = null;
function sayBanner() {
  const banner = $("banner");
  if (banner.hidden) return;
  const text = banner.dataset.phase === "denied"
    ? "You may not listen here: log in, then reload."
    : "The connection is cut: what you see may be old. Trying again by itself; nothing will be missed.";
  write(banner.querySelector(".text"), text); // said once, not with every countdown
  const left = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
  write($("retry"), left > 0 ? `Retry now (${left} s)` : "Retry now");
}

setInterval(() => {
  sayBanner();
  write($("where"), `position ${stream.position ?? "–"}`);
  const { put, deleted, last } = unsaid;
  if (put + deleted === 0) return;
  const parts = [put && `${put} put`, deleted && `${deleted} deleted`].filter(Boolean);
  $("said").textContent = put + deleted === 1 ? `${last} ${put ? "put" : "deleted"}` : `${parts.join(", ")}; last ${last}`;
  unsaid = { put: 0, deleted: 0, last: "" };
}, 1000);

$("retry").addEventListener("click", () => stream.retry());

// --- the form for a new value

const form = {
  node: $("new"),
  open() {
    form.node.hidden = false;
    form.clear();
    $("new-key").focus();
  },
  close() {
    form.node.hidden = true;
    form.node.reset();
    $("add").focus();
  },
  clear() {
    const problem = form.node.querySelector(".problem");
    problem.hidden = true;
    problem.replaceChildren();
  },
  problem(text, choice, act) {
    const node = form.node.querySelector(".problem");
    node.replaceChildren(text);
    if (choice) node.append(" ", page.button(choice, act));
    node.hidden = false;
  },
  done(key) {
    form.node.reset();
    form.clear();
    $("new-key").focus();
    page.toast(`Saved ${key}.`);
  },
};

$("add").addEventListener("click", form.open);
$("new-cancel").addEventListener("click", form.close);
form.node.addEventListener("submit", (event) => {
  event.preventDefault();
  form.clear();
  const key = $("new-key").value;
  if (key) editing.add(key, $("new-value").value, form);
});
$("new-value").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.node.requestSubmit();
  }
});

// --- filter, keys, looks

let typing = 0;
$("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => table.search($("filter").value), 80);
});
$("show-more").addEventListener("click", () => table.showMore());
$("show-connections").addEventListener("change", (event) => $("events").parentElement.classList.toggle("hide-connections", !event.target.checked));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (!form.node.hidden && form.node.contains(document.activeElement)) form.close();
    else if (document.activeElement === $("filter")) {
      $("filter").value = "";
      table.search("");
      $("rows").querySelector('tr[tabindex="0"]')?.focus();
    }
    return;
  }
  if (event.target.closest("input, textarea")) {
    if (event.key === "ArrowDown" && event.target === $("filter")) {
      event.preventDefault();
      $("rows").querySelector('tr[tabindex="0"]')?.focus();
    }
    return;
  }
  if (event.key === "/") $("filter").focus();
  else if (event.key === "n") form.open();
  else return;
  event.preventDefault();
});

const themes = ["light", "dark"];
try {
  const kept = localStorage.getItem("livekv-theme");
  if (themes.includes(kept)) document.documentElement.dataset.theme = kept;
} catch {
  // Storage may be forbidden; the system's choice it is then.
}
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("livekv-theme", document.documentElement.dataset.theme);
  } catch {
    // as above
  }
});

// What needs a script appears with it.
$("no-events").textContent = "Changes and connections appear here as they happen.";
for (const node of document.querySelectorAll(".pulse, #theme, #filter, #add, #pause, .check, .keys")) node.hidden = false;
pace.now();
window.addEventListener("pagehide", () => stream.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
