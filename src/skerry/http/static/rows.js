// rows.js: <skerry-rows>, an element that keeps rows which a server has rendered as they are now.
//
//   <skerry-rows table="shop_product" events="/events" since="E:N">
//     <table><tbody>
//       <tr data-key="7"><td data-field="name">Tea</td><td data-field="stock">3</td></tr>
//       <template><tr><td data-field="name"></td><td data-field="stock"></td></tr></template>
//     </tbody></table>
//   </skerry-rows>
//
// It follows `row_put` and `row_deleted` of one table. Where a row is shown, elements with `data-field` get the text of
// that column, and `data-href="/products/{key}/"` a link; a row that is not shown yet is made from the <template>, if
// there is one. Nothing that a row holds becomes markup.
//
// `since`: the position that the page was rendered at, so that nothing is lost between rendering and listening. Without
// it, and when what was missed cannot be had, the page is fetched again and its rows take the place of these.
// `order`: a column (or `key`), with `-` for the largest first; else new rows come last. `limit`: so many rows. `where`:
// JSON of columns and values; rows that differ are not shown. `prefix`: of the keys whose events are wanted.
// `data-phase` says how the stream is (see skerry.js). Each row that was filled dispatches `skerry:row`, which bubbles:
// `detail` is {key, row}. Types: rows.d.ts.

import { connect } from "./skerry.js";

const AGAIN_MS = 2_000;
const LONGEST_AGAIN_MS = 60_000;

/** How a value is shown: `data-format` names one; a page may add its own. */
export const formats = {
  number: (value) => new Intl.NumberFormat(language()).format(value),
  date: (value) => new Intl.DateTimeFormat(language(), { dateStyle: "medium" }).format(new Date(value)),
  time: (value) => new Intl.DateTimeFormat(language(), { timeStyle: "short" }).format(new Date(value)),
  datetime: (value) =>
    new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "short" }).format(new Date(value)),
};

const language = () => document.documentElement.lang || undefined;

/** A key as `data-key` has it: of several columns, JSON. */
export const keyText = (key) => (Array.isArray(key) ? JSON.stringify(key) : String(key));

/** The order of two texts: of two numbers theirs, else that of their code units. */
export function compare(one, other) {
  const numbers = one !== "" && other !== "" && [Number(one), Number(other)];
  if (numbers && !numbers.some(Number.isNaN)) return numbers[0] - numbers[1];
  return one < other ? -1 : Number(one > other);
}

/** One stream for all elements of a page that want the same of it. */
class Followed {
  static all = new Map();

  static of(element) {
    const wanted = ["events", "prefix", "since"].map((name) => element.getAttribute(name) ?? "");
    const name = JSON.stringify(wanted);
    if (!Followed.all.has(name)) Followed.all.set(name, new Followed(name, ...wanted));
    return Followed.all.get(name);
  }

  constructor(name, events, prefix, since) {
    this.name = name;
    this.elements = new Set();
    this.waiting = null; // events that come while the page is fetched again
    this.phase = "connecting";
    this.isComplete = since !== "";
    this.stream = connect(events || "/events", {
      prefix, since: since || null,
      onHello: () => { if (!this.isComplete) this.refresh(); },
      onLost: () => this.refresh(),
      onEvent: (event) => (this.waiting ?? this).push(event),
      onState: ({ phase }) => {
        this.phase = phase;
        for (const each of this.elements) each.dataset.phase = phase;
      },
    });
  }

  push(event) {
    for (const each of this.elements) each.told(event);
  }

  add(element) {
    this.elements.add(element);
    element.dataset.phase = this.phase;
  }

  remove(element) {
    this.elements.delete(element);
    if (this.elements.size) return;
    Followed.all.delete(this.name);
    clearTimeout(this.timer);
    this.stream.close();
  }

  /** Have the rows of the page as its server renders it now, then what happened since it was asked. */
  refresh() {
    this.waiting = [];
    this.isComplete = true;
    clearTimeout(this.timer);
    this.fetched(this.waiting, AGAIN_MS);
  }

  async fetched(waiting, pause) {
    try {
      const answer = await fetch(location.href, { cache: "reload", headers: { Accept: "text/html" } });
      if (!answer.ok) throw new Error(`the page is ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (this.waiting !== waiting) return; // asked again meanwhile
      for (const each of this.elements) each.replaced(page);
    } catch {
      if (this.waiting !== waiting) return;
      const longer = Math.min(LONGEST_AGAIN_MS, pause * 2);
      this.timer = setTimeout(() => this.fetched(waiting, longer), pause * (0.5 + Math.random() / 2));
      return;
    }
    this.waiting = null;
    for (const event of waiting) this.push(event);
  }
}

export class SkerryRows extends HTMLElement {
  connectedCallback() {
    this.where = JSON.parse(this.getAttribute("where") || "{}");
    this.followed = Followed.of(this);
    this.followed.add(this);
  }

  disconnectedCallback() {
    this.followed.remove(this);
  }

  /** The elements that are rows, in their order. */
  get rows() {
    return [...this.querySelectorAll("[data-key]")];
  }

  told({ event, table, key, row }) {
    if (table !== this.getAttribute("table")) return;
    if (event === "row_deleted") this.find(key)?.remove();
    else if (event === "row_put") this.put(key, row);
  }

  put(key, row) {
    let shown = this.find(key);
    if (Object.entries(this.where).some(([name, value]) => row[name] !== value)) {
      shown?.remove();
      return;
    }
    const made = shown === undefined;
    if (made) shown = this.querySelector("template")?.content.firstElementChild?.cloneNode(true);
    if (!shown) return;
    shown.dataset.key = keyText(key);
    this.fill(shown, key, row);
    this.place(shown, key, row, made);
    this.cut();
    if (shown.isConnected) shown.dispatchEvent(new CustomEvent("skerry:row", { bubbles: true, detail: { key, row } }));
  }

  find(key) {
    const wanted = keyText(key);
    return this.rows.find((each) => each.dataset.key === wanted);
  }

  fill(shown, key, row) {
    const values = { ...row, key: keyText(key) };
    for (const each of [shown, ...shown.querySelectorAll("[data-field]")]) {
      const name = each.dataset.field;
      if (name === undefined || !Object.hasOwn(values, name)) continue;
      const value = values[name], format = formats[each.dataset.format];
      each.textContent = value === null ? "" : format ? format(value) : typeof value === "object" ? JSON.stringify(value) : value;
    }
    for (const each of [shown, ...shown.querySelectorAll("[data-href]")]) {
      const href = each.dataset.href?.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values[name] ?? ""));
      if (href !== undefined && /^\/(?![\/\\])/.test(href)) each.setAttribute("href", href);
    }
  }

  /** Where a row belongs. Without `order` a new one comes last, and the others stay. */
  place(shown, key, row, made) {
    const order = this.getAttribute("order") ?? "";
    const name = order.replace(/^-/, ""), sign = order.startsWith("-") ? -1 : 1;
    if (name) {
      const before = shown.dataset.order;
      shown.dataset.order = String((name === "key" ? keyText(key) : row[name]) ?? "");
      if (!made && before === shown.dataset.order) return;
    } else if (!made) return;
    const next = name && this.rows.find((each) => each !== shown && sign * compare(orderOf(each, name), shown.dataset.order) > 0);
    if (next) next.before(shown);
    else if (this.rows.length && !(this.rows.length === 1 && this.rows[0] === shown)) this.rows.filter((each) => each !== shown).at(-1).after(shown);
    else this.querySelector("template")?.before(shown);
  }

  cut() {
    const limit = Number(this.getAttribute("limit"));
    if (limit > 0) for (const each of this.rows.slice(limit)) each.remove();
  }

  /** Take what stands in the same place of a page that was fetched. */
  replaced(page) {
    const mine = [...document.querySelectorAll("skerry-rows")].indexOf(this);
    const found = this.id ? page.getElementById(this.id) : page.querySelectorAll("skerry-rows")[mine];
    if (found?.getAttribute("table") !== this.getAttribute("table")) throw new Error("the page has no such rows");
    this.replaceChildren(...found.childNodes);
  }
}

/** What a row that the server has rendered is sorted by. */
function orderOf(shown, name) {
  if (shown.dataset.order !== undefined) return shown.dataset.order;
  if (name === "key") return shown.dataset.key;
  return shown.querySelector(`[data-field="${CSS.escape(name)}"]`)?.textContent.trim() ?? "";
}

customElements.define("skerry-rows", SkerryRows);
