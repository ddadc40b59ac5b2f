// Changing values: add, edit in place, delete with undo. Every change names the version it was made from (If-Match), so
// that nobody's work is overwritten unseen.

import { parsePosition } from "../_skerry/skerry.js";
import { pathOf } from "./table.js";

async function call(method, key, { body, ifMatch, ifNoneMatch } = {}) {
  // A browser would take these for a path and ask for something else.
  if (key === "." || key === "..") return { status: 400, detail: `${key} is no key.` };
  const headers = {};
  if (ifMatch) headers["If-Match"] = `"${ifMatch}"`;
  if (ifNoneMatch) headers["If-None-Match"] = ifNoneMatch;
  if (body !== undefined) headers["Content-Type"] = "text/plain; charset=utf-8";
  let answer;
  try {
    answer = await fetch(pathOf(key), { method, headers, body });
  } catch (error) {
    // A lone surrogate cannot be written as UTF-8; everything else is the network.
    return { status: 0, detail: error instanceof URIError ? "That is not a key." : "The server cannot be reached. Nothing was changed, as far as is known." };
  }
  let detail = "";
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    detail = problem.detail || problem.title || `The server answered ${answer.status}.`;
  }
  return { status: answer.status, ok: answer.ok, detail, position: answer.headers.get("Skerry-Position") };
}

/** Whether the event of a write at `position` has come already: the entry is of then, or newer. */
function isHeard(position, entry) {
  const wanted = parsePosition(position), found = parsePosition(entry?.position);
  return wanted !== null && found !== null && wanted.epoch === found.epoch && found.offset >= wanted.offset;
}

export class Editing {
  constructor(table, page) {
    this.table = table;
    this.page = page;
    this.open = null; // { key, row, area, choices, problem, base }
  }

  // --- in place

  async edit(key) {
    if (this.open) {
      if (this.open.key === key) return;
      this.cancel();
    }
    const row = this.table.rows.get(key), entry = this.table.get(key);
    if (!row || !entry) return;
    let value = entry.value;
    if (value === null) {
      const answer = await fetch(pathOf(key)).catch(() => null);
      if (!answer?.ok) return this.page.toast("The value could not be loaded.");
      value = (await answer.json()).value;
    }
    const area = document.createElement("textarea");
    area.value = value;
    area.rows = Math.min(12, Math.max(1, value.split("\n").length));
    area.setAttribute("aria-label", `Value of ${key}. Enter saves, Shift+Enter makes a new line, Escape cancels.`);
    const problem = document.createElement("p");
    problem.className = "problem";
    problem.setAttribute("role", "alert");
    problem.hidden = true;
    const choices = document.createElement("p");
    choices.className = "choices";
    choices.append(this.page.button("Save", () => this.save()), this.page.button("Cancel", () => this.cancel()));
    choices.firstChild.className = "primary";
    const editor = document.createElement("div");
    editor.append(area, choices, problem);
    row.classList.add("editing");
    row.cells[1].replaceChildren(editor);
    this.open = { key, row, area, choices, problem, base: entry.position };
    editor.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        this.cancel();
      } else if (event.key === "Enter" && event.target === area && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.save();
      }
    });
    area.focus();
    area.select();
  }

  cancel() {
    const { key, row } = this.open;
    this.open = null;
    row.classList.remove("editing");
    const entry = this.table.get(key);
    if (entry) this.table.fill(row, entry);
    else this.table.shape = true;
    this.table.pace.now();
    row.focus();
  }

  async save() {
    const editing = this.open;
    if (!editing || editing.saving) return;
    editing.saving = true;
    const { key, area, base } = editing;
    const value = area.value;
    const answer = await call("PUT", key, { body: value, ifMatch: base, ...(base ? {} : { ifNoneMatch: "*" }) });
    editing.saving = false;
    if (answer.status === 412) return this.conflict(editing);
    if (!answer.ok) return this.tell(editing, answer.detail);
    if (this.open === editing) this.cancel();
    if (answer.status !== 200) return this.page.toast("Accepted; it shows up as soon as it is done.");
    if (!isHeard(answer.position, this.table.get(key))) this.table.rows.get(key)?.classList.add("saving"); // until it is
    this.page.applied();
  }

  /** Somebody else changed it: show what there is now, and let the person decide. */
  conflict(editing) {
    const theirs = this.table.get(editing.key);
    if (!theirs) {
      editing.base = null;
      return this.tell(editing, "Somebody deleted this value meanwhile.", [["Keep mine", () => this.save()], ["Discard mine", () => this.cancel()]]);
    }
    editing.base = theirs.position;
    const shown = theirs.value === null ? `${theirs.size} bytes` : theirs.value.length > 200 ? `${theirs.value.slice(0, 200)}…` : theirs.value;
    this.tell(editing, `Somebody changed this value meanwhile. It is now: ${shown}`, [["Keep mine", () => this.save()], ["Take theirs", () => this.cancel()]]);
  }

  changedWhileEditing(key) {
    if (this.open?.key === key && !this.open.saving && this.table.get(key)?.position !== this.open.base) this.conflict(this.open);
  }

  deleted(key) {
    if (this.open?.key === key && !this.open.saving) this.conflict(this.open);
  }

  tell(editing, text, choices = []) {
    const { problem, area } = editing;
    problem.replaceChildren(text);
    for (const [name, act] of choices) problem.append(" ", this.page.button(name, act));
    problem.hidden = false;
    editing.choices.hidden = choices.length > 0;
    area.focus();
  }

  // --- delete

  async remove(key) {
    const entry = this.table.get(key);
    if (!entry) return;
    if (this.open?.key === key) this.cancel();
    this.table.rows.get(key)?.classList.add("saving");
    const answer = await call("DELETE", key, { ifMatch: entry.position });
    if (answer.ok) {
      const undo = entry.value === null ? null : () => this.restore(key, entry.value);
      this.page.toast(`Deleted ${key}.`, undo);
      return;
    }
    this.table.rows.get(key)?.classList.remove("saving");
    this.page.toast(answer.status === 412 ? `${key} was changed meanwhile; look again before you delete it.` : answer.detail);
  }

  async restore(key, value) {
    const answer = await call("PUT", key, { body: value, ifNoneMatch: "*" });
    this.page.toast(answer.ok ? `${key} is back.` : answer.status === 412 ? `${key} exists again already.` : answer.detail);
  }

  // --- add

  async add(key, value, form) {
    const answer = await call("PUT", key, { body: value, ifNoneMatch: "*" });
    if (answer.status === 412) {
      return form.problem(`${key} exists already.`, "Replace it", async () => {
        const second = await call("PUT", key, { body: value });
        if (second.ok) form.done(key);
        else form.problem(second.detail);
      });
    }
    if (!answer.ok) return form.problem(answer.detail);
    form.done(key);
  }
}
