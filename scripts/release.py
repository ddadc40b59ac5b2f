"""Builds the distributions and tries them in a clean virtual environment, as somebody who installs them would.

    python scripts/release.py            # build and check; leaves the files in dist/
    python scripts/release.py --final    # refuses besides when this commit is not what a release is made from

Both distributions (`skerry`, `skerry-livekv`) are built as sdist and as wheel; the wheel comes from the sdist, so that
what only the repository has is missed here. The version stands once, in `src/skerry/__init__.py`. Nothing is uploaded
and nothing is tagged: CONTRIBUTING.md says what a maintainer does with the files.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
LIVEKV = ROOT / "examples" / "livekv"
START_SECONDS = 60.0
PACKED = {
    "skerry": ["skerry/py.typed", "skerry/http/static/skerry.js", "skerry/backends/sqlite/statements.sql",
               "skerry/backends/postgres/statements.sql"],
    "skerry_livekv": ["livekv/py.typed", "livekv/pages/index.html"],
}  # fmt: skip
"""Files that are no Python and have to be in the wheels; with them, every `.py` below the package's directory."""


def version() -> str:
    """The version that `src/skerry/__init__.py` has."""
    text = (ROOT / "src" / "skerry" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        sys.exit("release: src/skerry/__init__.py has no __version__")
    return found[1]


def ready(of: str) -> None:
    """SystemExit unless the tree is clean, the changelog has dated this version and no tag has it already."""
    if git("status", "--porcelain"):
        sys.exit("release: the tree has changes; commit them first")
    if not re.search(
        rf"^## \[{re.escape(of)}\] - \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    ):
        sys.exit(f"release: CHANGELOG.md has no line '## [{of}] - YYYY-MM-DD'; date the version there")
    if git("tag", "--list", f"v{of}"):
        sys.exit(f"release: the tag v{of} exists already; raise __version__")


def git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def environment(directory: Path, *wanted: str) -> Path:
    """The interpreter of a new virtual environment with these requirements."""
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    subprocess.run(install, check=True, cwd=directory)
    return python


def build(work: Path) -> list[Path]:
    """The sdists and wheels of both distributions, in `dist/`."""
    tools = environment(work / "tools", "-r", str(ROOT / "constraints" / "release.txt"))
    shutil.rmtree(DIST, ignore_errors=True)
    for source in (ROOT, LIVEKV):
        subprocess.run([tools, "-m", "hatchling", "build", "-t", "sdist", "-d", DIST], cwd=source, check=True)
    for sdist in sorted(DIST.glob("*.tar.gz")):
        with tarfile.open(sdist) as archive:
            archive.extractall(work / "unpacked", filter="data")
        unpacked = work / "unpacked" / sdist.name.removesuffix(".tar.gz")
        subprocess.run(
            [tools, "-m", "hatchling", "build", "-t", "wheel", "-d", DIST], cwd=unpacked, check=True
        )
    return sorted(DIST.iterdir())


def whole(wheel: Path, sources: Path) -> None:
    """SystemExit when the wheel lacks one of our modules, a file of PACKED or its licence."""
    names = set(zipfile.ZipFile(wheel).namelist())
    package = wheel.name.partition("-")[0]
    modules = {str(path.relative_to(sources)) for path in sources.rglob("*.py")}
    missing = sorted((modules | set(PACKED[package])) - names)
    if package == "skerry" and not any(name.endswith("licenses/LICENSE") for name in names):
        missing.append("LICENSE")
    if missing:
        sys.exit(f"release: {wheel.name} lacks {', '.join(missing)}")


def tried(work: Path, wheels: list[Path], of: str) -> None:
    """Install the wheels and use them: the command, and the packaged example with its page and a value."""
    python = environment(work / "clean", *map(str, wheels))
    skerry = python.with_name("skerry")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SKERRY_", "PYTHON"))}
    for command in (
        [skerry, "--help"],
        [python, "-m", "skerry", "--version"],
        [skerry, "routes", "livekv:app"],
    ):
        done = subprocess.run(command, cwd=work, env=clean, capture_output=True, text=True)
        if done.returncode or (command[-1] == "--version" and of not in done.stdout):
            sys.exit(f"release: {command} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    home = work / "home"
    home.mkdir()
    server = subprocess.Popen([skerry, "run", "livekv:app", "--bind", address], cwd=home, env=clean)
    try:
        url = f"http://{address}"
        written = asked(f"{url}/values/colour", b"blue")
        assert b"blue" in written, written
        assert b"blue" in asked(f"{url}/values/colour")
        page = asked(f"{url}/").decode()
        assets = re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css|svg)[^"]*)"', page)
        assert assets, "the page names no script"
        for asset in assets:
            assert asked(url + asset), asset
        server.send_signal(signal.SIGTERM)
        if (code := server.wait(30)) != 0:
            sys.exit(f"release: skerry run ended with {code} after SIGTERM")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def asked(url: str, body: bytes | None = None) -> bytes:
    """The answer's body; while nobody listens yet it is asked again. With a body it is a PUT."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            request = urllib.request.Request(url, data=body, method="GET" if body is None else "PUT")
            with urllib.request.urlopen(request, timeout=30) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError:
            raise
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Build the distributions and check them in a clean environment."
    )
    parser.add_argument(
        "--final", action="store_true", help="refuse unless the tree is clean and the changelog dated"
    )
    of = version()
    if parser.parse_args().final:
        ready(of)
    with tempfile.TemporaryDirectory(prefix="skerry-release-") as name:
        work = Path(name)
        files = build(work)
        wheels = [path for path in files if path.suffix == ".whl"]
        for wheel, sources in zip(wheels, (ROOT / "src", LIVEKV / "src"), strict=True):
            whole(wheel, sources)
        tried(work, wheels, of)
    print(
        f"release: {of} is good:",
        *(f"  {path.relative_to(ROOT)}  {path.stat().st_size:,} bytes" for path in files),
        sep="\n",
    )


if __name__ == "__main__":
    main()
