"""Django's own tests of live servers and static files, from its source archive, on our `LiveServer`.

One process, SQLite in memory: about half a minute.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from compliance.outcome import Outcome

LABELS = ("servers", "staticfiles_tests", "asgi")
HONOURED = "a client that asks for the end of its connection gets it"
CHOSEN = {
    "test_closes_connection_without_content_length": "a streamed answer is chunked, and its connection is kept",
    "test_keep_alive_on_connection_with_content_length": HONOURED,
    "test_keep_alive_connection_clears_previous_request_data": HONOURED,
}
"""Tests of what Django's development server does, and why ours does not."""
PROGRAM = """
import os, runpy, sys
from django.test import testcases
from skerry.hosting.django import LiveServer
testcases.LiveServerTestCase.server_thread_class = LiveServer
sys.argv[0] = "runtests.py"
sys.path.insert(0, os.getcwd())
runpy.run_path("runtests.py", run_name="__main__")
"""
SECONDS = 900


def source(directory: Path) -> Path:
    """Django's source of the version that is installed. Raises RuntimeError when it is not to be had."""
    number = version("django")
    found = directory / f"django-{number}"
    if not found.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary", ":all:", "--dest", str(directory), f"django=={number}"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(
                f"Django's source could not be fetched: {done.stderr.strip().splitlines()[-1]}"
            )
        with tarfile.open(directory / f"django-{number}.tar.gz") as archive:
            archive.extractall(directory, filter="data")
    return found


def run(directory: Path) -> Outcome:
    """All tests of `LABELS`."""
    command = [sys.executable, "-c", PROGRAM, *LABELS, "--parallel", "1"]
    environ = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(command, cwd=source(directory) / "tests", env=environ, capture_output=True, text=True,
                          check=False, timeout=SECONDS)  # fmt: skip
    outcome = Outcome()
    counted = re.search(r"^Ran (\d+) tests", done.stderr, re.M)
    if counted is None:
        outcome.failed.append(f"the tests did not run: {done.stderr[-300:]}")
        return outcome
    differing = set(re.findall(r"^(?:FAIL|ERROR): (\w+) ", done.stderr, re.M))
    skipped = re.search(r"skipped=(\d+)", done.stderr)
    for _ in range(int(counted[1]) - len(differing) - int(skipped[1] if skipped else 0)):
        outcome.note(True, "")
    for name in sorted(differing):
        outcome.note(False, f"{name}: not as Django's", CHOSEN.get(name))
    return outcome
