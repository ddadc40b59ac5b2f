"""pace.js and flash.js by themselves, in Node with a clock that the test moves: how often is painted, at most."""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import livekv

PAGES = Path(livekv.__path__[0]) / "pages"
STAGE = """
let now = 1000;
let waiting = [];
const later = (act, ms) => { const one = { act, at: now + ms }; waiting.push(one); return one; };
globalThis.setTimeout = later;
globalThis.clearTimeout = (one) => { waiting = waiting.filter((other) => other !== one); };
globalThis.setInterval = (act, ms) => { const again = () => { later(again, ms); act(); }; later(again, ms); };
globalThis.requestAnimationFrame = (act) => later(act, 16 - (now %% 16));
globalThis.matchMedia = () => ({ matches: %s });
Object.defineProperty(globalThis, "performance", { value: { now: () => now } });
globalThis.document = { timeline: { get currentTime() { return now; } } };
const pass = (ms) => {
  for (const end = now + ms; now < end; now++)
    for (const one of waiting.filter((other) => other.at <= now)) { clearTimeout(one); one.act(); }
};
const { Pace, PAUSE_MS } = await import(%s);
const { flash } = await import(%s);
const out = (() => { %s })();
console.log(JSON.stringify(out));
"""

pytestmark = pytest.mark.service("node")


def play(script: str, *, still: bool = False) -> Any:
    """Run a script on the stage and give back what it returns. `still`: the system says that things should not move."""
    modules = [json.dumps((PAGES / name).as_uri()) for name in ("pace.js", "flash.js")]
    done = subprocess.run(
        ["node", "--input-type=module", "-"],
        input=STAGE % (json.dumps(still), *modules, script),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_however_much_is_said_it_renders_ten_times_a_second() -> None:
    """The first change at once, then one rendering a pause; the last one is rendered too, and after it nothing."""
    pause, times, after = play("""
      const times = [];
      const pace = new Pace(() => times.push(now));
      for (let n = 0; n < 2000; n++) { pace.soon(); pass(1); }
      const last = now;
      pass(5000);
      return [PAUSE_MS, times, times.filter((t) => t >= last).length];
    """)
    assert pause == 100
    assert times[0] <= 1016, "within a frame"
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) >= pause
    assert max(gaps) <= pause + 17, "and not later than a frame after the pause"
    assert after == 1


def test_what_the_person_does_waits_for_no_pause() -> None:
    """It is in the next frame also right after a rendering, and takes along what the stream said."""
    times = play("""
      const times = [];
      const pace = new Pace(() => times.push(now));
      pace.now();
      pass(20);
      pace.soon();
      pass(4);
      pace.now();
      pace.now();
      pass(1000);
      return times.map((t) => t - 1000);
    """)
    assert times == [8, 40]


FLASHES = """
  const started = [];
  const node = () => ({ animate: () => { const fade = {}; started.push(fade); return fade; } });
"""


def test_many_changes_at_once_do_not_flash() -> None:
    """A few do; while more come none does; when it has been calm again they do."""
    found = play(f"""{FLASHES}
      const count = (changes) => {{
        const before = started.length;
        for (let n = 0; n < changes; n++) flash(node());
        pass(1000);
        return started.length - before;
      }};
      pass(1);
      return [3, 200, 200, 5, 0, 5].map(count);
    """)
    assert found == [3, 20, 0, 0, 0, 5]


def test_flashes_step_together() -> None:
    """Whenever they began: so that however many run, the page is painted five times a second for them."""
    found = play(f"""{FLASHES}
      for (let n = 0; n < 10; n++) {{ flash(node()); pass(37); }}
      return started.map((fade) => [fade.startTime % 200, fade.startTime > 0]);
    """)
    assert found == [[0, True]] * 10


def test_who_wants_no_motion_gets_none() -> None:
    """prefers-reduced-motion is heeded."""
    script = f"{FLASHES} flash(node()); return started.length;"
    assert play(script) == 1
    assert play(script, still=True) == 0
