"""A private HAProxy for tests: one's own configuration, free ports of 127.0.0.1, a directory of its own.

    with private_haproxy("frontend web\n bind 127.0.0.1:PORT1\n default_backend kv\n ...", ports=1) as haproxy:
        ...                                        # haproxy.ports[0]; PORT1, PORT2 and DIRECTORY are replaced

It ends with the block, and with its process. Whether HAProxy is installed is `services.available("haproxy")`.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skerry.testing.broker import free_ports
from skerry.testing.listening import listening
from skerry.testing.services import ServiceFailed, haproxy_program


@dataclass(frozen=True, slots=True)
class PrivateHaproxy:
    """One that runs: where it listens."""

    ports: tuple[int, ...]


@contextlib.contextmanager
def private_haproxy(text: str, ports: int = 1) -> Iterator[PrivateHaproxy]:
    """Run it with that configuration. Raises ServiceFailed with its log when it does not start."""
    found = haproxy_program()
    if found is None:
        raise ServiceFailed("haproxy is not installed")
    chosen = tuple(free_ports(ports))
    with tempfile.TemporaryDirectory(prefix="haproxy-") as name:
        directory = Path(name)
        text = text.replace("DIRECTORY", name)
        for number, port in enumerate(chosen, 1):
            text = text.replace(f"PORT{number}", str(port))
        (directory / "haproxy.cfg").write_text(text, encoding="utf-8")
        with listening([found, "-db", "-f", f"{name}/haproxy.cfg"], chosen, directory / "log"):
            yield PrivateHaproxy(chosen)
