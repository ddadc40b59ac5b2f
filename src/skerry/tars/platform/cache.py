"""The cache file of a server, `datapath/SERVER.tarsdat`: what should survive the process and the registry.

Endpoints of the last good answers, and single values such as the log level. The format is TarsCpp's (`AppCache`), so
that its tools read it: a domain per locator with `Object=endpoint:endpoint` and `inactive_Object=...`. Threads and
processes may write it at once: each change holds a lock beside the file, reads the file anew and replaces it as a
whole. A file that cannot be read or written costs the cache, nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import time
from pathlib import Path

from skerry.errors import SettingsError
from skerry.tars.endpoint import Endpoint, EndpointError, parse_endpoints
from skerry.tars.locator import Located
from skerry.tars.platform.domain import Domain

log = logging.getLogger("skerry.tars.platform")

ROOT, INACTIVE = "tars", "inactive_"
VERSION = "3.0.0"
"""A file without `tarsversion` is thrown away by TarsCpp."""


class EndpointCache:
    """The file at `path`, for answers of the registry at `locator`."""

    def __init__(self, path: str | Path, locator: str) -> None:
        self.path, self._locator = Path(path), locator

    def get(self, name: str) -> Located | None:
        """The endpoints of `name` as they were last written, None when there are none."""
        found = self._read().domain(ROOT).domains.get(self._locator, Domain()).values
        try:
            active = parse_endpoints(found[name])
        except (KeyError, EndpointError):
            return None
        return Located(active, _endpoints(found.get(f"{INACTIVE}{name}", "")))

    def put(self, name: str, located: Located) -> None:
        """Remember the endpoints of `name`."""
        values = {name: _text(located.active), f"{INACTIVE}{name}": _text(located.inactive)}
        self._write(Domain(domains={ROOT: Domain(domains={self._locator: Domain(values)})}))

    def value(self, key: str) -> str:
        """A single value (`logLevel`); an empty text when it is not there."""
        return self._read().domain(ROOT).values.get(key, "")

    def set_value(self, key: str, value: str) -> None:
        """Remember a single value."""
        self._write(Domain(domains={ROOT: Domain({key: value})}))

    def _read(self) -> Domain:
        try:
            return Domain.parse(self.path.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return Domain()
        except (OSError, SettingsError) as error:
            log.warning("the cache file %s cannot be read: %s", self.path, error)
            return Domain()

    def _write(self, change: Domain) -> None:
        marks = {"tarsversion": VERSION, "modify": time.strftime("%Y-%m-%d %H:%M:%S")}
        temporary = self.path.with_name(f"{self.path.name}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path.with_name(f".{self.path.name}.lock"), "wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                new = self._read().merged(change).merged(Domain(domains={ROOT: Domain(marks)}))
                temporary.write_text(new.text(), encoding="utf-8")
                temporary.replace(self.path)
        except OSError as error:
            log.warning("the cache file %s cannot be written: %s", self.path, error)
            with contextlib.suppress(OSError):
                temporary.unlink()


def _text(endpoints: tuple[Endpoint, ...]) -> str:
    return ":".join(map(str, endpoints))


def _endpoints(text: str) -> tuple[Endpoint, ...]:
    try:
        return parse_endpoints(text) if text else ()
    except EndpointError:
        return ()
