"""skerry.js by itself, in Node with a WebSocket that the test plays: cursor, doubles, pauses, who is called when."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import skerry.http

MODULE = Path(skerry.http.__path__[0]) / "static" / "skerry.js"
STAGE = """
import { connect, parsePosition, pauseBefore, rootOf, under } from %s;
const sockets = [], said = [];
globalThis.location = { href: "http://kv.example:8999/" };
globalThis.WebSocket = class {
  constructor(url) { this.url = String(url); sockets.push(this); }
  close() { this.closed = true; }
  say(event) { this.onmessage({ data: typeof event === "string" ? event : JSON.stringify(event) }); }
  end(code) { this.onclose({ code }); }
};
globalThis.fetch = async () => ({ status: globalThis.answer ?? 200 });
const timers = [];
globalThis.setTimeout = (act, ms) => { timers.push({ act, ms }); return timers.length - 1; };
globalThis.clearTimeout = (n) => { if (timers[n]) timers[n].act = () => {}; };
const turn = () => new Promise((done) => setImmediate(done));
const stream = (options = {}) => connect("/events", {
  onEvent: (e) => said.push(["event", e.position]), onSnapshot: (rows, at) => said.push(["snapshot", rows.length, at]),
  onLost: () => said.push(["lost"]), onState: (s) => said.push([s.phase]), ...options });
const event = (n, epoch = "a") => ({ type: "domain_event", key: "k", position: `${epoch}:${n}` });
const hello = (position, more = {}) =>
  ({ type: "hello", position, head: position, recovered: false, snapshot: false, ...more });
const out = await (async () => { %s })();
console.log(JSON.stringify(out));
process.exit(0);
"""

pytestmark = pytest.mark.service("node")


def play(script: str) -> Any:
    """Run a script on the stage and give back what it returns."""
    text = STAGE % (json.dumps(MODULE.as_uri()), script)
    done = subprocess.run(
        ["node", "--input-type=module", "-"],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_cursor_follows_and_doubles_are_dropped() -> None:
    """It connects to where it last was; what comes twice is told once; what is not JSON is nothing."""
    found = play("""
      const s = stream({ since: "a:4", prefix: "x/" });
      said.push(["returned"]);
      await turn();
      const [one] = sockets;
      one.say(hello("a:4", { recovered: true, head: "a:6" }));
      for (const e of [event(5), event(5), "no json", event(6), event(4)]) one.say(e);
      one.say({ type: "caught_up", position: "a:6" });
      one.end(1006);
      timers.at(-1).act();
      return [said, sockets.map((w) => w.url)];
    """)
    said, urls = found
    assert said == [
        ["returned"], ["connecting"], ["catching-up"], ["event", "a:5"], ["event", "a:6"], ["live"],
        ["waiting"], ["connecting"],
    ]  # fmt: skip
    assert urls == [
        "ws://kv.example:8999/events?since=a%3A4&prefix=x%2F&beat=1",
        "ws://kv.example:8999/events?since=a%3A6&prefix=x%2F&beat=1",
    ]  # fmt: skip


def test_a_cut_snapshot_is_not_resumed_from() -> None:
    """The cursor moves when the snapshot is complete; rows are told together, at its end."""
    found = play("""
      const s = stream({ snapshot: true });
      await turn();
      sockets[0].say(hello("a:9", { snapshot: true }));
      sockets[0].say({ type: "snapshot", values: [{ key: 1 }, { key: 2 }] });
      sockets[0].end(1006);
      timers.at(-1).act();
      sockets[1].say(hello("b:2", { snapshot: true }));
      sockets[1].say({ type: "snapshot", values: [{ key: 3 }] });
      sockets[1].say({ type: "snapshot_end", position: "b:2" });
      sockets[1].say(event(3, "b"));
      return [said.filter(([what]) => what !== "connecting"), sockets[1].url, s.position];
    """)
    said, url, position = found
    assert said == [
        ["catching-up"],
        ["waiting"],
        ["catching-up"],
        ["snapshot", 1, "b:2"],
        ["live"],
        ["event", "b:3"],
    ]
    assert "since" not in url
    assert position == "b:3"


def test_a_page_without_snapshot_is_told_that_it_lost_something() -> None:
    """recovered:false where a cursor was given."""
    assert ["lost"] in play("""
      stream({ since: "old:4" }); await turn(); sockets[0].say(hello("new:1")); return said;
    """)


def test_pauses_grow_with_jitter_and_a_restart_is_spread() -> None:
    """Between half and all of a doubling pause, 15 s at most; after 1012 within about two seconds."""
    pauses, restart = play("""
      const pauses = [0, 1, 2, 3, 20].map((n) => [pauseBefore(n, () => 0), pauseBefore(n, () => 1)]);
      stream(); await turn();
      sockets[0].say(hello("a:1"));
      sockets[0].end(1012);
      return [pauses, timers.at(-1).ms];
    """)
    assert pauses == [[200, 400], [400, 800], [800, 1600], [1600, 3200], [7500, 15000]]
    assert 100 <= restart <= 2100


def test_a_refused_page_stops_trying() -> None:
    """401 and 403 are found out by asking, and end the attempts."""
    said = play("""
      globalThis.answer = 403;
      stream(); await turn();
      for (let n = 0; n < 2; n++) { sockets[n].end(1006); timers.at(-1).act(); }
      await turn(); await turn();
      sockets.at(-1).end(1006);
      await turn(); await turn();
      return said;
    """)
    assert said[-1] == ["denied"]


def test_positions_are_read_exactly() -> None:
    """EPOCH:NUMBER, and null for anything else."""
    assert play('return [parsePosition("ab:12"), parsePosition("12"), parsePosition(null)];') == [
        {"epoch": "ab", "offset": 12}, None, None,
    ]  # fmt: skip


def test_a_server_that_goes_silent_is_left() -> None:
    """It says how often it will be heard: who hears nothing for that long and 10 s more connects anew, from where it
    was, over either transport. Anything that comes counts, also a beat, which nobody is told of; a timer that comes
    late because its page slept decides by the time since. An older server promises nothing, and is not doubted."""
    found = play("""
      let now = 0;
      Date.now = () => now;
      globalThis.EventSource = globalThis.WebSocket;
      const waits = [];
      for (const transport of ["websocket", "sse"]) {
        const s = stream({ since: "a:4", transport });
        await turn();
        const link = sockets.at(-1);
        link.say(hello("a:4", { beat: 25 }));
        waits.push(timers.at(-1).ms);
        now += 20_000;
        link.say({ type: "beat" });
        now += 15_000;
        timers.at(-1).act();
        waits.push(timers.at(-1).ms, s.state.phase);
        now += 19_000;
        link.say(event(5));
        now += 1_000;
        timers.at(-1).act();
        waits.push(timers.at(-1).ms);
        now += 34_000;
        timers.at(-1).act();
        waits.push(s.state.phase, link.closed);
        timers.at(-1).act();
        waits.push(sockets.at(-1).url.includes("since=a%3A5"));
        s.close();
      }
      const old = stream({ since: "a:4" });
      await turn();
      const before = timers.length;
      sockets.at(-1).say(hello("a:4"));
      return [waits, timers.length - before, said.filter((s) => s[0] === "event")];
    """)
    waits, armed, told = found
    once = [35_000, 20_000, "live", 34_000, "waiting", True, True]
    assert waits == once + once
    assert armed == 0
    assert told == [["event", "a:5"], ["event", "a:5"]]


def test_behind_a_prefix_paths_lead_to_the_application() -> None:
    """The module knows the prefix by its own address; what has it already, and whole URLs, stay as they are."""
    found = play("""
      globalThis.location = { href: "https://kv.example/kv/", origin: "https://kv.example" };
      const root = rootOf("https://kv.example/kv/_skerry/skerry.js");
      return [root, rootOf("https://kv.example/_skerry/skerry.js"), rootOf("https://kv.example/static/skerry.js"),
        rootOf("https://cdn.example/kv/_skerry/skerry.js"), under(root, "/events"), under(root, "/kv/events"),
        under(root, "events"), under(root, "//live.example/events"), under(root, "wss://live.example/events"),
        under("/", "/events")];
    """)
    assert found == [
        "/kv/", "/", "/", "/", "/kv/events", "/kv/events", "events", "//live.example/events",
        "wss://live.example/events", "/events",
    ]  # fmt: skip
