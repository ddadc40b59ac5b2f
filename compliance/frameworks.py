"""gunicorn's ASGI framework suite (MIT): Django with Channels, FastAPI, Starlette, Quart, Litestar and BlackSheep, each
with an application that the suite asks over HTTP and WebSocket. It comes with gunicorn's source archive; the frameworks
are installed into an environment of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from compliance.corpora import source
from compliance.outcome import Outcome
from compliance.subjects import ROOT, running

FRAMEWORKS = {
    "django": "asgi:application", "fastapi": "app:app", "starlette": "app:app", "quart": "app:app",
    "litestar": "app:app", "blacksheep": "app:app",
}  # fmt: skip
PACKAGES = ("Django", "channels", "fastapi", "starlette", "quart", "litestar", "blacksheep", "uvloop", "websockets",
            "httptools", "uvicorn", "pytest", "pytest-asyncio", "pytest-json-report", "httpx")  # fmt: skip


def environment(directory: Path) -> str:
    """A Python with the frameworks and this Skerry. Raises RuntimeError when something cannot be installed."""
    place = directory / "venv"
    python = place / "bin" / "python"
    if not (place / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES,
                   "-e", str(ROOT)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the frameworks cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        (place / ".ready").touch()
    return str(python)


def run(name: str, directory: Path) -> Outcome:
    """All frameworks under one server."""
    suite = source(directory) / "tests" / "docker" / "asgi_framework_compat"
    python = environment(directory)
    settings = suite / "conftest.py"
    settings.write_text(
        re.sub(r'"port": 800\d', '"port": int(os.environ["SUBJECT_PORT"])', settings.read_text())
    )
    outcome = Outcome()
    for framework, target in FRAMEWORKS.items():
        place = suite / "frameworks" / f"{framework}_app"
        with running(name, target, python=python, directory=place) as port:
            command = [python, "-m", "pytest", "-q", "--no-header", "--tb=no", "-rf", "-p", "no:cacheprovider",
                       "--skip-docker-check", "-k", framework]  # fmt: skip
            environ = {**os.environ, "SUBJECT_PORT": str(port), "PYTHONPATH": str(place.parent.parent)}
            done = subprocess.run(
                command, cwd=suite, env=environ, capture_output=True, text=True, check=False
            )
        counts = {
            word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)
        }
        outcome.passed += counts.get("passed", 0)
        outcome.total += sum(counts.values())
        outcome.failed += [f"{framework}: {line}" for line in re.findall(r"^FAILED (.*)$", done.stdout, re.M)]
        if not counts:
            outcome.failed.append(
                f"{framework}: the suite did not run: {done.stdout[-300:]}{done.stderr[-300:]}"
            )
    return outcome
