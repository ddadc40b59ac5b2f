"""The archive that a node unpacks: what is in it, that it starts there, that it is sent."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from skerry.errors import SettingsError
from skerry.process.blueprint import write_service
from skerry.process.release import Release, made, sent


def release(directory: Path, **values: object) -> Release:
    return Release("service:service", "Demo", "HelloServer", directory, **values)  # type: ignore[arg-type]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new service, with what should not travel."""
    directory = tmp_path / "hello"
    write_service("Hello", directory)
    for place in (".env", ".git/config", "venv/pyvenv.cfg", "__pycache__/x.pyc", "old.tgz", "var/log/a.log"):
        file = directory / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("TOKEN=secret\n")
    return directory


def skerry(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "skerry", "tars", *arguments],
        cwd=directory, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_what_is_in_it_and_that_it_starts_under_a_node(project: Path) -> None:
    """One directory with an executable launcher and the release beside it: the application without secrets and caches,
    Skerry and what it requires; it lives and ends under a node, with an interpreter that has no packages."""
    ended = skerry(
        "deploy",
        "service:service",
        "--app",
        "Demo",
        "--server",
        "HelloServer",
        "--release",
        "r1",
        directory=project,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "of this directory: Hello.tars, README.md, conf, service.py, test_service.py" in ended.stdout
    assert "starts in " in ended.stdout
    with tarfile.open(project / "HelloServer.tgz") as tar:
        entries = tar.getmembers()
        [launcher] = [entry for entry in entries if entry.name == "HelloServer/HelloServer"]
        assert launcher.mode == 0o755
        assert all(entry.isfile() for entry in entries)
        names = {entry.name.removeprefix("HelloServer/r1/") for entry in entries}
    assert {"app/service.py", "app/Hello.tars", "app/conf/local.conf", "lib/skerry/__main__.py"} <= names
    assert any(name.startswith("lib/click/") for name in names)
    assert not any(
        part.startswith(".") or part in ("venv", "var", "old.tgz", "setuptools", "pytest")
        for name in names
        for part in name.split("/")
    )


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"include": ("../other",)}, "--include: '../other' lies outside of this directory"),
        ({"include": ("/etc/passwd",)}, "--include: '/etc/passwd' lies outside of this directory"),
        ({"include": ("missing",)}, "--include: there is no 'missing' here"),
        ({"include": ("link",)}, "is a link"),
        ({"extra": ("no-such-distribution",)}, "--with: no distribution 'no-such-distribution' is installed here"),
        ({"name": "HelloServer"}, "--release: 'HelloServer' cannot be the name of its directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_in_one(values: dict[str, object], complaint: str, project: Path) -> None:
    """Nothing from outside, no links, only what is installed."""
    (project / "link").symlink_to("/etc/passwd")
    values = {"include": ("service.py", "Hello.tars"), **values}
    with pytest.raises(SettingsError) as error:
        made(release(project, **values), project / "out.tgz")
    assert complaint in str(error.value)


class TarsWeb(BaseHTTPRequestHandler):
    """Keeps what was uploaded."""

    received: tuple[str, bytes] = ("", b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).received = self.path, body
        refused = "ticket=wrong" in self.path
        self.send_response(403 if refused else 200)
        self.end_headers()
        self.wfile.write(b"task 17")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), TarsWeb)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_uploading(web: str, tmp_path: Path) -> None:
    """The archive and the names as TarsWeb's form has them; a refusal does not show the token."""
    archive = tmp_path / "HelloServer.tgz"
    archive.write_bytes(content := os.urandom(2000))
    assert sent(archive, release(tmp_path), web, "abc") == "task 17"
    path, body = TarsWeb.received
    assert path == "/api/upload_and_publish?ticket=abc"
    assert b'name="suse"; filename="HelloServer.tgz"' in body
    assert content in body
    assert b'name="application"\r\n\r\nDemo\r\n' in body
    assert b'name="module_name"\r\n\r\nHelloServer\r\n' in body
    with pytest.raises(SettingsError, match="--upload: TarsWeb answered 403 Forbidden"):
        sent(archive, release(tmp_path), web, "wrong")


def test_a_new_service_passes_its_own_tests(project: Path) -> None:
    """What `init` writes works as it is; a second time it overwrites nothing."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project, env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr
    again = skerry("init", "Hello", "--directory", ".", directory=project)
    assert (again.returncode, again.stderr) == (2, "skerry: --directory: . is there already, and not empty\n")
