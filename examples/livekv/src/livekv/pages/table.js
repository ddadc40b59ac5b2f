// The table of values: all of them in a Map, a bounded part of them as rows, changed when the pace says so.
// Keys are data: they are never put into ids, selectors or markup.

import { flash } from "./flash.js";

const STEP = 300;
const MOST_KEPT = 100_000;

const byCodePoint = (a, b) => {
  // Strings compare by UTF-16 unit in JavaScript; the server orders by code point. They differ beyond U+FFFF.
  const size = Math.min(a.length, b.length);
  for (let n = 0; n < size; n++) {
    const x = a.charCodeAt(n), y = b.charCodeAt(n);
    if (x !== y) {
      const high = (unit) => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x2000 : unit >= 0xe000 ? unit - 0x800 : unit);
      return high(x) - high(y);
    }
  }
  return a.length - b.length;
};

export class Table {
  /** `actions`: edit(key), remove(key), called for buttons and keys; `settled(shown, matching, total)` after a flush.
   *  `pace` is told when there is something to render, and calls `flush`. */
  constructor(body, actions, pace) {
    this.body = body;
    this.actions = actions;
    this.pace = pace;
    this.entries = new Map(); // key -> { value, size, position }
    this.rows = new Map(); // key -> tr
    this.keyOf = new WeakMap(); // tr -> key
    this.order = []; // keys, sorted
    this.limit = STEP;
    this.filter = "";
    this.changed = new Set();
    this.shape = true; // which rows there are may differ
    this.current = null;
    this.adopt();
    body.addEventListener("keydown", (event) => this.pressed(event));
    body.addEventListener("click", (event) => this.clicked(event));
    body.addEventListener("focusin", (event) => {
      const row = event.target.closest("tr");
      if (row) this.point(this.keyOf.get(row));
    });
  }

  /** Take over the rows that the server rendered. */
  adopt() {
    for (const row of [...this.body.rows]) {
      const { key, position, size } = row.dataset;
      const value = size === undefined ? row.querySelector(".clip")?.textContent ?? "" : null;
      this.entries.set(key, { value, size: size === undefined ? null : Number(size), position });
      this.order.push(key);
      this.rows.set(key, row);
      this.keyOf.set(row, key);
      this.furnish(row, key);
    }
    this.order.sort(byCodePoint);
  }

  get(key) {
    return this.entries.get(key);
  }

  get size() {
    return this.entries.size;
  }

  set(key, entry) {
    const known = this.entries.has(key);
    if (!known && this.entries.size >= MOST_KEPT) return;
    const matched = known && this.matches(key);
    if (!known) this.order.splice(this.place(key), 0, key);
    this.entries.set(key, entry);
    if (!known || matched !== this.matches(key)) this.shape = true;
    else if (!this.rows.has(key)) return; // nothing of it is on the page
    this.changed.add(key);
    this.pace.soon();
  }

  delete(key) {
    if (!this.entries.delete(key)) return;
    this.order.splice(this.place(key), 1);
    this.shape = true;
    this.pace.soon();
  }

  /** Replace everything. */
  load(entries) {
    const before = this.entries;
    this.entries = new Map();
    for (const [key, entry] of entries) {
      if (this.entries.size >= MOST_KEPT) break;
      this.entries.set(key, entry);
      const old = before.get(key);
      if (old && (old.value !== entry.value || old.size !== entry.size)) this.changed.add(key);
    }
    this.order = [...this.entries.keys()].sort(byCodePoint);
    this.shape = true;
    this.pace.soon();
  }

  search(text) {
    this.filter = text.toLowerCase();
    this.limit = STEP;
    this.shape = true;
    this.pace.now();
  }

  showMore() {
    this.limit += STEP;
    this.shape = true;
    this.pace.now();
  }

  place(key) {
    let low = 0, high = this.order.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (byCodePoint(this.order[middle], key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  flush() {
    if (!this.shape && this.changed.size === 0) return;
    if (this.shape) this.arrange();
    for (const key of this.changed) {
      const row = this.rows.get(key), entry = this.entries.get(key);
      if (!row || !entry) continue;
      row.dataset.position = entry.position;
      if (row.classList.contains("editing")) this.actions.changedWhileEditing(key);
      else this.fill(row, entry);
      row.classList.remove("saving");
      flash(row);
    }
    this.changed.clear();
    this.actions.settled(this.rows.size, this.matching ?? this.entries.size, this.entries.size);
  }

  /** Make the rows be the first `limit` matching keys, touching only what differs. */
  arrange() {
    this.shape = false;
    const shown = [];
    let matching = 0;
    if (this.filter) {
      for (const key of this.order) {
        if (this.matches(key) && ++matching <= this.limit) shown.push(key);
      }
    } else {
      matching = this.order.length;
      shown.push(...this.order.slice(0, this.limit));
    }
    this.matching = matching;
    const wanted = new Set(shown);
    for (const [key, row] of this.rows) {
      if (wanted.has(key) || row.classList.contains("editing")) continue;
      if (row.contains(document.activeElement)) this.leave(row);
      row.remove();
      this.rows.delete(key);
    }
    let here = this.body.firstElementChild;
    for (const key of shown) {
      const row = this.rows.get(key);
      if (row !== undefined && row === here) {
        here = here.nextElementSibling;
        continue;
      }
      this.body.insertBefore(row ?? this.build(key), here);
    }
    if (this.current === null || !this.rows.has(this.current)) this.point(shown[0] ?? null);
  }

  matches(key) {
    if (key.toLowerCase().includes(this.filter)) return true;
    const value = this.entries.get(key).value;
    return value !== null && value.slice(0, 4096).toLowerCase().includes(this.filter);
  }

  build(key) {
    const row = document.createElement("tr");
    const name = document.createElement("th");
    name.scope = "row";
    name.textContent = key;
    row.append(name, document.createElement("td"), document.createElement("td"));
    row.cells[2].className = "acts";
    const entry = this.entries.get(key);
    row.dataset.position = entry.position;
    this.rows.set(key, row);
    this.keyOf.set(row, key);
    this.furnish(row, key);
    this.fill(row, entry);
    return row;
  }

  furnish(row, key) {
    row.tabIndex = -1;
    for (const [name, text] of [["edit", "Edit"], ["remove", "Delete"]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = name;
      button.textContent = text;
      button.tabIndex = -1;
      button.setAttribute("aria-label", `${text} ${key}`);
      row.cells[2].append(button, " ");
    }
  }

  fill(row, entry) {
    const cell = row.cells[1];
    if (entry.size !== null) {
      const link = document.createElement("a");
      link.href = pathOf(this.keyOf.get(row));
      link.textContent = `${entry.size.toLocaleString("en")} bytes`;
      cell.replaceChildren(link);
    } else if (entry.value === "") {
      const none = document.createElement("span");
      none.className = "none";
      none.textContent = "empty";
      cell.replaceChildren(none);
    } else {
      const text = document.createElement("div");
      text.className = "clip";
      // A cell is no place to read a novel: Edit shows all of it.
      text.textContent = entry.value.length > 2000 ? `${entry.value.slice(0, 2000)}…` : entry.value;
      cell.replaceChildren(text);
    }
  }

  // --- keyboard and pointer

  /** One row is reachable by Tab, the arrows move from there. */
  point(key) {
    const before = this.rows.get(this.current);
    if (before) this.tabbable(before, false);
    this.current = key;
    const row = this.rows.get(key);
    if (row) this.tabbable(row, true);
  }

  tabbable(row, yes) {
    row.tabIndex = yes ? 0 : -1;
    for (const button of row.cells[2].children) button.tabIndex = yes ? 0 : -1;
  }

  leave(row) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    if (next) {
      this.point(this.keyOf.get(next));
      next.focus();
    }
  }

  pressed(event) {
    const row = event.target.closest("tr");
    if (!row || row.classList.contains("editing") || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = this.keyOf.get(row);
    const onButton = event.target.closest("button, a") !== null;
    let next = null;
    if (event.key === "ArrowDown") next = row.nextElementSibling;
    else if (event.key === "ArrowUp") next = row.previousElementSibling;
    else if (event.key === "Home") next = this.body.firstElementChild;
    else if (event.key === "End") next = this.body.lastElementChild;
    else if ((event.key === "Enter" && !onButton) || event.key === "e") this.actions.edit(key);
    else if (event.key === "Delete") this.actions.remove(key);
    else return;
    event.preventDefault();
    if (next) {
      this.point(this.keyOf.get(next));
      next.focus();
    }
  }

  clicked(event) {
    const button = event.target.closest("td.acts button");
    if (!button) return;
    const key = this.keyOf.get(button.closest("tr"));
    if (button.className === "edit") this.actions.edit(key);
    else this.actions.remove(key);
  }
}

const ROOT = new URL("..", import.meta.url).pathname; // this file stands at ROOTstatic/table.js

export const pathOf = (key) => `${ROOT}values/${encodeURIComponent(key)}`;
