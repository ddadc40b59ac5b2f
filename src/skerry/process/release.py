"""The archive that a node unpacks: a launcher, the application's files, and the distributions that it imports.

    PyServer/PyServer               the launcher; it becomes the server's process
    PyServer/20260101-120000/app/   the application's files
    PyServer/20260101-120000/lib/   Skerry and the other distributions, as they are installed here

The node copies the content of the one directory over `bin/` and leaves what was there; so each release has a directory
of its own, and the launcher removes the others. No links, no hidden files.

Source: tarsnode's `CommandPatch` (it descends while there is exactly one visible directory); TarsWeb's API.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from skerry.errors import SettingsError

SKIPPED = frozenset({"__pycache__", "node_modules", "var"})
SKIPPED_SUFFIXES = (".pyc", ".pyo", ".tgz", ".egg-info")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RELEASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
INSTALLERS = {"pip", "setuptools", "wheel"}
"""An environment imports some of them by itself."""
MARK = "release.txt"
UPLOAD_SECONDS = 600

LAUNCHER = """#!/bin/sh
# Made by `skerry tars deploy`. The node runs it with --config=FILE; it becomes the server's process.
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
release={release}
python=${{SKERRY_PYTHON:-python{version}}}
if ! command -v "$python" > /dev/null 2>&1; then
    echo "$0: there is no $python here; install Python {version}, or set SKERRY_PYTHON in the template's env=" >&2
    exit 2
fi
for each in "$here"/*/{mark}; do
    each=$(dirname -- "$each")
    [ "$each" = "$here/$release" ] || rm -rf -- "$each"
done
PYTHONPATH="$here/$release/app:$here/$release/lib${{PYTHONPATH:+:$PYTHONPATH}}"
PYTHONDONTWRITEBYTECODE=1
export TARS_RELEASE="$release"
export PYTHONPATH PYTHONDONTWRITEBYTECODE
exec "$python" -s -m skerry tars run {target} "$@"
"""


@dataclass(frozen=True, slots=True)
class Release:
    """What goes into it. `directory`: the application's. `include`: what of it; empty: all but what is `SKIPPED` or
    hidden, and environments. `extra`: distributions beyond those that the target imports."""

    target: str
    app: str
    server: str
    directory: Path
    include: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """What went into it."""

    files: int
    own: tuple[str, ...]
    distributions: tuple[str, ...]


def made(release: Release, archive: Path) -> Contents:
    """Write the archive. Raises SettingsError for what cannot be in one, OSError when it cannot be written."""
    for option, text in (("--app", release.app), ("--server", release.server)):
        if not NAME.fullmatch(text):
            raise SettingsError(option, f"{text!r} is no name on the platform: letters, digits, underscores")
    name = release.name or time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    if not RELEASE_NAME.fullmatch(name) or name == release.server:
        raise SettingsError("--release", f"{name!r} cannot be the name of its directory")
    own = sorted(_included(release))
    if not own:
        raise SettingsError("--include", f"nothing of {release.directory} would be in the archive")
    distributions = sorted(_distributions(release), key=lambda each: each.name)
    root = release.server
    count = 0
    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        launcher = LAUNCHER.format(
            release=shlex.quote(name), version=version, mark=MARK, target=shlex.quote(release.target)
        )
        _add_text(tar, f"{root}/{release.server}", launcher, 0o755)
        _add_text(tar, f"{root}/{name}/{MARK}", f"{release.app}.{release.server} {name}\n", 0o644)
        for path in own:
            for file in _files(release.directory / path):
                if file.resolve() != archive.resolve():
                    _add(tar, file, f"{root}/{name}/app/{file.relative_to(release.directory)}")
                    count += 1
        for distribution in distributions:
            for file, place in _installed(distribution):
                _add(tar, file, f"{root}/{name}/lib/{place}")
                count += 1
    return Contents(count + 2, tuple(own), tuple(f"{each.name} {each.version}" for each in distributions))


def sent(archive: Path, release: Release, url: str, token: str) -> str:
    """Upload and publish it by TarsWeb at `url`; what it answers. Raises SettingsError for what it refuses, OSError
    when it cannot be reached."""
    boundary = uuid.uuid4().hex
    fields = {
        "application": release.app, "module_name": release.server, "comment": f"skerry {release.name}".strip(),
    }  # fmt: skip
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="suse"; filename="{release.server}.tgz"\r\n'
    parts += [f"{head}Content-Type: application/gzip\r\n\r\n".encode(), archive.read_bytes()]
    parts.append(f"\r\n--{boundary}--\r\n".encode())
    request = urllib.request.Request(
        f"{url.rstrip('/')}/api/upload_and_publish?ticket={token}",
        data=b"".join(parts),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    if request.type not in ("http", "https"):
        raise SettingsError("--upload", f"{url!r} is no http address")
    try:
        with urllib.request.urlopen(request, timeout=UPLOAD_SECONDS) as answer:
            return str(answer.read().decode("utf-8", "replace").strip())
    except urllib.error.HTTPError as error:
        raise SettingsError("--upload", f"TarsWeb answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:  # its text would show the address with the token
        raise OSError(f"TarsWeb cannot be reached: {error.reason}") from None


# --- the application's files


def _included(release: Release) -> Iterator[str]:
    if not release.include:
        for path in release.directory.iterdir():
            if _belongs(path):
                yield path.name
        return
    for text in release.include:
        path = Path(os.path.normpath(text))
        if path.is_absolute() or ".." in path.parts:
            raise SettingsError("--include", f"{text!r} lies outside of this directory")
        if not (release.directory / path).exists():
            raise SettingsError("--include", f"there is no {text!r} here")
        yield str(path)


def _belongs(path: Path) -> bool:
    """Whether it is the application's: neither hidden, nor a cache, an environment or an archive."""
    return not (
        path.name.startswith(".")
        or path.name in SKIPPED
        or path.name.endswith(SKIPPED_SUFFIXES)
        or (path / "pyvenv.cfg").exists()
    )


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink():
        raise SettingsError("--include", f"{path} is a link, which the node would not find its way with")
    if path.is_dir():
        for each in sorted(path.iterdir()):
            if _belongs(each):
                yield from _files(each)
    elif path.is_file():
        yield path


# --- distributions

_IMPORTED = """
import sys
from skerry.kernel.importing import load_application
load_application(sys.argv[1])
print("\\n".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def _distributions(release: Release) -> set[importlib.metadata.Distribution]:
    """Skerry, what the target imports, what was named, and what these require."""
    ended = subprocess.run(
        [sys.executable, "-c", _IMPORTED, release.target],
        cwd=release.directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ended.returncode:
        raise SettingsError("TARGET", f"cannot be imported by itself:\n{ended.stderr.strip()}")
    homes = importlib.metadata.packages_distributions()
    imported = ended.stdout.split()
    used = {home for name in imported for home in homes.get(name, ())} - INSTALLERS
    names = {"skerry", *used, *release.extra}
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = sorted(names)
    while waiting:
        name = waiting.pop()
        if _canonical(name) in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in release.extra:
                raise SettingsError("--with", f"no distribution {name!r} is installed here") from None
            continue  # required for another system, or optional
        if _is_application(distribution, release.directory):
            continue  # installed from here: its files go as the application's
        found[_canonical(name)] = distribution
        waiting += [_required(text) for text in distribution.requires or () if "extra ==" not in text]
    return set(found.values())


def _is_application(distribution: importlib.metadata.Distribution, directory: Path) -> bool:
    where = distribution.read_text("direct_url.json") or ""
    return f'"{directory.resolve().as_uri()}"' in where


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _required(text: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", text)
    return found[0] if found else text


def _installed(distribution: importlib.metadata.Distribution) -> Iterator[tuple[Path, str]]:
    """Its files, and where they go. One that is installed from its sources is taken from there."""
    has_code = False
    for entry in distribution.files or ():
        place = entry.as_posix()
        if place.startswith("..") or "__pycache__" in place or place.endswith((".pth", ".pyc")):
            continue
        file = Path(str(distribution.locate_file(entry)))
        if file.is_file() and entry.name not in ("RECORD", "direct_url.json", "INSTALLER", "REQUESTED"):
            has_code = has_code or ".dist-info" not in place
            yield file, place
    if not has_code:
        yield from _from_sources(distribution.name)


def _from_sources(name: str) -> Iterator[tuple[Path, str]]:
    """The packages of a distribution that is installed in place."""
    for package in _packages_of(name):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        root = Path(spec.origin)
        if root.name != "__init__.py":
            yield root, root.name
            continue
        for file in sorted(root.parent.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file, f"{package}/{file.relative_to(root.parent).as_posix()}"


def _packages_of(name: str) -> Iterable[str]:
    homes = importlib.metadata.packages_distributions()
    found = [package for package, distributions in homes.items() if name in distributions]
    return found or [name.replace("-", "_")]


# --- the archive


def _add(tar: tarfile.TarFile, file: Path, place: str) -> None:
    mode = 0o755 if os.access(file, os.X_OK) else 0o644
    with open(file, "rb") as content:
        info = _info(place, file.stat().st_size, mode)
        tar.addfile(info, content)


def _add_text(tar: tarfile.TarFile, place: str, text: str, mode: int) -> None:
    data = text.encode()
    tar.addfile(_info(place, len(data), mode), io.BytesIO(data))


def _info(place: str, size: int, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(place)
    info.size, info.mode, info.mtime = size, mode, int(time.time())
    return info
