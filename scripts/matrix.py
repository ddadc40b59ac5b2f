"""Runs the unit tests on the other supported Python versions, and on the lowest versions of what we depend on.

    python scripts/matrix.py            # every supported Python that this machine has, and `lowest`
    python scripts/matrix.py 3.13       # one of them
    python scripts/matrix.py lowest     # this Python, each dependency at the lower bound of pyproject.toml
    python scripts/matrix.py frameworks # the tests of hosting with other versions of Django, Flask and FastAPI

Each has a virtual environment of its own under `.venv/matrix/`. A Python that the machine does not have is named
and left out: `make setup` needs only the oldest one. Exit code 1 when a run fails.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".venv" / "matrix"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOWEST = "lowest"
TOOLS = [
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis",
    "pyyaml",
    "httpx",
    "aiohttp",
    "uvicorn",
]
"""What the tests of `lowest` need. The frameworks that other tests use need newer versions of our dependencies."""
ROOMS = {
    "python": ["tests/bus", "tests/http", "tests/messages", "tests/loop", "tests/supervision", "tests/hosting",
               "tests/tars/wire", "tests/tars/idl", "tests/test_emitter.py", "tests/test_injection.py"],
    LOWEST: ["tests/bus", "tests/http", "tests/messages", "tests/server",
             "tests/backends/test_memory_journal.py", "tests/backends/test_sqlite_journal.py"],
}  # fmt: skip
"""The rooms that are run: those that depend most on what differs, about a minute for each environment."""
HOSTING = ["tests/hosting", "tests/bridge", "tests/cli/test_host.py", "tests/cli/test_host_frameworks.py",
           "tests/cli/test_manage_py.py", "tests/cli/test_flask_skerry.py"]  # fmt: skip
FRAMEWORKS = {
    "django-6.0": ("3.12", ["django>=6.0,<6.1"]),
    "flask-2.3": ("", ["flask>=2.3,<2.4", "werkzeug>=2.3,<3"]),
    "fastapi-oldest": ("", ["fastapi==0.133.0"]),
    "fastapi-newest": ("3.13", ["fastapi"]),
}
"""By name: on which Python (this one, when none is said), and what is installed over its environment. Older releases of
FastAPI want an older Starlette than Skerry does."""


def versions() -> list[str]:
    """The Python versions that pyproject.toml promises, oldest first: `["3.11", "3.12"]`."""
    found = [
        re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in PROJECT["classifiers"]
    ]
    return [match[1] for match in found if match]


def interpreter(version: str) -> str | None:
    """The path of an interpreter of this version, from PATH or from pyenv; None when the machine has none."""
    homes = [os.environ.get("PYENV_ROOT", ""), os.path.expanduser("~/.pyenv")]
    kept = [path for home in homes if home for path in glob.glob(f"{home}/versions/{version}.*/bin/python3")]
    for path in (shutil.which(f"python{version}"), *sorted(kept, reverse=True)):
        if path is None:
            continue
        asked = subprocess.run(
            [path, "-c", "import sys, venv; print(sys.version)"], capture_output=True, text=True
        )
        if asked.returncode == 0 and asked.stdout.startswith(version + "."):  # a pyenv shim may lead nowhere
            return path
    return None


def lower_bounds() -> dict[str, str]:
    """The lowest version that each requirement allows: `{"msgspec": "0.20"}`. SystemExit for one without a bound."""
    extras = PROJECT["optional-dependencies"]
    wanted = [
        *PROJECT["dependencies"],
        *(line for name in extras if name not in ("all", "docs", "dev") for line in extras[name]),
    ]
    found = {}
    for line in wanted:
        match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*>=\s*([0-9.]+)", line)
        if match is None:
            sys.exit(f"matrix: {line!r} in pyproject.toml has no lower bound")
        found[match[1].lower()] = match[2]
    return found


def constraints(name: str, directory: Path) -> Path:
    """The file of versions for this environment: constraints/dev.txt, with the lower bounds in place for `lowest`."""
    pinned = ROOT / "constraints" / "dev.txt"
    if name != LOWEST:
        return pinned
    lowest = lower_bounds()
    kept = [
        line
        for line in pinned.read_text(encoding="utf-8").splitlines()
        if line.partition("==")[0].lower().replace("_", "-") not in lowest
    ]
    path = directory / "constraints.txt"
    path.write_text(
        "\n".join([*kept, *(f"{package}=={version}" for package, version in lowest.items())]) + "\n"
    )
    return path


def environment(name: str, python: str) -> Path:
    """The interpreter of the virtual environment `name`, which is brought up to date when its requirements changed."""
    directory = ENVIRONMENTS / name
    made_of = [ROOT / "pyproject.toml", ROOT / "constraints" / "dev.txt"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in made_of)).hexdigest()
    stamp = directory / "made-of"
    ours = directory / "bin" / "python"
    if stamp.exists() and stamp.read_text() == digest:
        return ours
    print(f"matrix: {name}: virtual environment", flush=True)
    if not ours.exists():
        subprocess.run([python, "-m", "venv", str(directory)], check=True)
    wanted = [".[all]", *TOOLS] if name == LOWEST else [".[dev]"]
    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-c",
        str(constraints(name, directory)),
    ]
    install += [part for each in wanted for part in (("-e", each) if each.startswith(".") else (each,))]
    install += ["-e", "examples/livekv"]
    done = subprocess.run([ours, *install], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"matrix: {name}: pip failed\n{done.stderr}")
    stamp.write_text(digest)
    return ours


def passes(name: str, python: str) -> bool:
    """Whether the tests of its rooms pass there."""
    ours = environment(name, python)
    print(f"matrix: {name}: {subprocess.check_output([ours, '-VV'], text=True).strip()}", flush=True)
    rooms = ROOMS[LOWEST if name == LOWEST else "python"]
    return (
        subprocess.run([ours, "-m", "pytest", "-n", "2", "--dist", "loadfile", *rooms], cwd=ROOT).returncode
        == 0
    )


def passes_with(name: str) -> bool:
    """Whether the tests of hosting pass with this version of a framework; True, and said, without its Python."""
    wanted, packages = FRAMEWORKS[name]
    python = Path(sys.executable)
    if wanted and wanted != f"{sys.version_info.major}.{sys.version_info.minor}":
        found = interpreter(wanted)
        if found is None:
            print(f"matrix: no Python {wanted} on this machine; {name} is left out", flush=True)
            return True
        python = environment(wanted, found)
    over = ENVIRONMENTS / name
    if not over.exists():
        print(f"matrix: {name}: {' '.join(packages)}", flush=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(over)]
        if subprocess.run([python, *install, *packages]).returncode:
            shutil.rmtree(over, ignore_errors=True)
            sys.exit(f"matrix: {name}: pip failed")
    environ = {**os.environ, "PYTHONPATH": str(over)}
    tests = ["-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *HOSTING]
    return subprocess.run([python, *tests], cwd=ROOT, env=environ).returncode == 0


def main(names: list[str]) -> int:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    failed = []
    chosen = names or [*(version for version in versions() if version != here), LOWEST]
    for name in [*FRAMEWORKS] if chosen == ["frameworks"] else chosen:
        python = sys.executable if name == LOWEST or name in FRAMEWORKS else interpreter(name)
        if python is None:
            print(f"matrix: no Python {name} on this machine; left out", flush=True)
        elif not (passes_with(name) if name in FRAMEWORKS else passes(name, python)):
            failed.append(name)
    if failed:
        print(f"matrix: failed on {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
