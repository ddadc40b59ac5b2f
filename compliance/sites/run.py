"""Serves a site by ours and by the server that it comes from, and has both crawled."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from compliance.crawl import Client, crawl
from compliance.outcome import Outcome
from compliance.subjects import ROOT

HERE = Path(__file__).parent
LOGIN = {"username": "admin", "password": "secret"}


@dataclass(frozen=True, slots=True)
class Site:
    """`target`: what is served; `module`: what makes its data, run as a program, or `make`, called with the Python and
    the directory; `begin`: where the crawl begins."""

    target: str
    begin: str
    module: str = ""
    make: Callable[[str, Path], None] | None = None
    peer: str = "gunicorn"
    login: dict[str, str] = field(default_factory=lambda: dict(LOGIN))


def _wagtail(python: str, place: Path) -> None:
    """A new site of Wagtail, with an administrator."""
    environ = {**_environ(place), "DJANGO_SUPERUSER_PASSWORD": LOGIN["password"]}
    start = str(Path(python).with_name("wagtail"))
    user = ["createsuperuser", "--noinput", "--username", LOGIN["username"], "--email", "a@example.org"]
    manage = [python, "manage.py"]
    for command in ([start, "start", "wagtailsite", "."], [*manage, "migrate", "-v0"], [*manage, *user]):
        subprocess.run(command, cwd=place, env=environ, check=True, stdout=subprocess.DEVNULL)


SITES = {
    "django-admin": Site("django_admin:application", "/admin/", "django_admin.py"),
    "flask-admin": Site("shelf_of_flask:application", "/admin/", "shelf_of_flask.py"),
    "wagtail": Site("wagtailsite.wsgi:application", "/admin/", make=_wagtail),
    "datasette": Site("shelf_of_datasette:application", "/", "shelf_of_datasette.py", peer="uvicorn"),
    "sqladmin": Site("shelf_of_sqladmin:application", "/admin/", "shelf_of_sqladmin.py", peer="uvicorn"),
}
MOST = 200
"""Pages and forms of each, in the long form."""


def visit_all(directory: Path) -> Outcome:
    """All of them, with packages in an environment of their own. Raises RuntimeError where it cannot be made."""
    python = directory / "sites-venv" / "bin" / "python"
    ready = directory / "sites-venv" / ".ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory / "sites-venv")], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        packages = ["-r", str(ROOT / "constraints" / "compliance.txt"), "-e", str(ROOT)]
        done = subprocess.run([str(python), *install, *packages], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the sites cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        ready.touch()
    outcome = Outcome()
    for name, site in SITES.items():
        found = visit(site, directory / "sites" / name, python=str(python), most=MOST)
        outcome.passed += found.passed
        outcome.total += found.total
        outcome.failed += [f"{name}: {each}" for each in found.failed]
    return outcome


def visit(
    site: Site,
    directory: Path,
    *,
    python: str = sys.executable,
    most: int = 60,
    visited: list[str] | None = None,
) -> Outcome:
    """Make its data in the directory, once, and a copy of it for each server. Raises RuntimeError."""
    made = directory / "made"
    shutil.rmtree(directory, ignore_errors=True)
    made.mkdir(parents=True)
    if site.make is not None:
        site.make(python, made)
    if site.module:
        subprocess.run([python, str(HERE / site.module)], env=_environ(made), check=True)
    with ExitStack() as stack:
        ports = []
        for server in ("skerry", site.peer):
            place = directory / server
            shutil.copytree(made, place, ignore=shutil.ignore_patterns("__pycache__"))
            ports.append(stack.enter_context(_served(site, server, place, python)))
        return crawl(ports[0], ports[1], site.begin, site.login, most=most, visited=visited)


def _environ(place: Path) -> dict[str, str]:
    path = os.pathsep.join([str(HERE), str(ROOT / "src")])
    return {**os.environ, "SITE": str(place), "PYTHONPATH": path, "SKERRY_HOST_PROCESSES": "1",
            "PYTHONHASHSEED": "0"}  # fmt: skip


@contextmanager
def _served(site: Site, server: str, place: Path, python: str) -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    address = f"127.0.0.1:{port}"
    command = {
        "skerry": ["skerry", "host", site.target, "--bind", address],
        "gunicorn": ["gunicorn", "-k", "gthread", "--threads", "2", "-b", address, site.target],
        "uvicorn": ["uvicorn", "--port", str(port), "--log-level", "warning", site.target],
    }[server]
    with open(place / "log", "wb") as log:
        process = subprocess.Popen(
            [python, "-m", *command], cwd=place, env=_environ(place), stdout=log, stderr=log
        )
    try:
        Client(port).wait(site.begin)
        yield port
    finally:
        process.terminate()
        process.wait(30)
