"""Clients of other people against livekv: undici, ws and eventsource from the npm registry, and Go's net/http, `ab -k`
and `h2load --h1` where they are installed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compliance.outcome import Outcome
from compliance.subjects import ROOT, until_it_answers

PACKAGES = ("undici@6", "ws@8", "eventsource@4")
REQUESTS = 3_000


@contextmanager
def livekv() -> Iterator[str]:
    """It runs, on the memory of one process; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "skerry",
        "run",
        "livekv:app",
        "--bind",
        f"127.0.0.1:{port}",
        "--journal",
        "memory:",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        until_it_answers(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def run(directory: Path) -> Outcome:
    """All of them. Raises RuntimeError where the npm packages cannot be had."""
    outcome = Outcome()
    with livekv() as url:
        for line in (*_from_npm(url, directory / "npm"), *_from_go(url)):
            verdict, _, name = line.partition(" ")
            outcome.note(verdict == "ok", name)
        for name, command, wanted in (
            ("ab -k", ["ab", "-q", "-k"], rf"Keep-Alive requests:\s+{REQUESTS}\b"),
            ("h2load --h1", ["h2load", "--h1"], rf"status codes: {REQUESTS} 2xx"),
        ):
            if shutil.which(command[0]):
                command += ["-n", str(REQUESTS), "-c", "8", f"{url}/values/a"]
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
                outcome.note(re.search(wanted, done.stdout) is not None, name)
    return outcome


def _from_go(url: str) -> list[str]:
    """Nothing where Go is not installed."""
    if shutil.which("go") is None:
        return []
    done = subprocess.run(["go", "run", "client.go", url], cwd=ROOT / "compliance", capture_output=True, text=True,
                          check=False, timeout=600)  # fmt: skip
    return [*done.stdout.splitlines(), *(["failed: " + done.stderr[-300:]] if done.returncode else [])]


def _from_npm(url: str, directory: Path) -> list[str]:
    if shutil.which("npm") is None:
        raise RuntimeError("npm is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "node_modules" / "ws").exists():
        (directory / "package.json").write_text("{}")
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES]
        if subprocess.run(command, cwd=directory, capture_output=True, check=False).returncode:
            raise RuntimeError(f"npm cannot install {' '.join(PACKAGES)}")
    script = shutil.copy(ROOT / "compliance" / "clients.mjs", directory)
    done = subprocess.run(["node", script, url], capture_output=True, text=True, check=False, timeout=120,
                          env={**os.environ, "NO_COLOR": "1"})  # fmt: skip
    return [*done.stdout.splitlines(), *(["failed: " + done.stderr[-300:]] if done.returncode else [])]
