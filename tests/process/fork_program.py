"""A fork server for tests, and what is forked from it or executed in its place.

fork_program.py DIRECTORY serve KIND ROOM | fork_program.py DIRECTORY tell CODE | ... leave CODE

"serve" imports a module in DIRECTORY; KIND is what its import leaves behind. "tell" writes what the process is as JSON;
"leave" leaves an orphan besides.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from skerry.process.forking import FORKS, Forking, ignore_terminal
from skerry.process.freshness import Freshness
from skerry.process.looking import LOOKED
from skerry.process.worker import CONTROL, PARENT

left: list[Any] = []
by_chance = random.Random()
by_seed = random.Random(5)
imported = ""


def load(directory: Path, kind: str) -> None:
    """The application's import."""
    global by_chance, by_seed, imported
    imported = (directory / "application.py").read_text()
    by_chance, by_seed = random.Random(), random.Random(5)
    match kind:
        case "raises":
            raise ValueError("a mistake in the application")
        case "exits":
            raise SystemExit(3)
        case "threads":
            left.append(threading.Thread(target=threading.Event().wait, daemon=True))
            left[-1].start()
        case "file":
            left.append((directory / "application.py").open())
        case "process":
            left.append(subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL))
        case "directory":
            left.append(tempfile.TemporaryDirectory())
        case "receiver":
            from django.dispatch import Signal

            left.append(Signal())
            left[-1].connect(tell)


def tell() -> None:
    """What this process is."""
    facts = {
        "imported": imported,
        "pid": os.getpid(),
        "is_child": os.getppid() == int(os.environ[PARENT]),
        "leads": os.getpgrp() == os.getpid(),
        "control": int(os.environ[CONTROL]),
        "looked": int(os.environ[LOOKED]),
        "passed": int(os.environ["PASSED_FD"]),
        "given": os.environ["GIVEN"],
        "server_only": os.environ.get("SERVER_ONLY", ""),
        "title": Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").decode().split("\0")[3:],
        "random": random.random(),
        "by_chance": by_chance.random(),
        "by_seed": by_seed.random(),
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
    }
    print(json.dumps(facts), flush=True)


def main() -> None:
    directory, what, word = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if what == "serve":
        assert FORKS in os.environ
        forking = Forking.inherited()
        ignore_terminal()
        what, word = forking.serve(lambda: load(directory, word), Freshness([directory]))
    tell()
    if what == "leave":
        subprocess.Popen(["sh", "-c", "sleep 0.01 & exec sleep 0"]).wait()
    raise SystemExit(int(word))


if __name__ == "__main__":
    main()
