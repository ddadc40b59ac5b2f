"""Tries a release as the node would: unpack it over an empty `bin/`, start it, see it alive, stop it."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from skerry.errors import SettingsError
from skerry.tars.service import Service
from skerry.testing.tars.node import FakeNode, configuration_for

START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Trial:
    """An archive, and the service that should be in it."""

    archive: Path
    app: str
    server: str
    service: Service


@dataclass(frozen=True, slots=True)
class Tried:
    """How long it took."""

    start_seconds: float
    stop_seconds: float


async def tried(trial: Trial, directory: Path) -> Tried:
    """Start and stop it in `directory`. Raises SettingsError, with the server's log, when it does not."""
    service = trial.service
    configuration = configuration_for(
        trial.server,
        [name.rpartition(".")[2] for name in service.servants],
        web=[name.rpartition(".")[2] for name in service.web] or (["WebObj"] if service.only else []),
        app=trial.app,
        activating_seconds=START_SECONDS,
        environment={"SKERRY_PYTHON": _own_python()},
    )
    launcher = directory / "bin" / trial.server
    node = FakeNode(directory, configuration, [str(launcher), "--workers", "1"], restarts=False)
    async with node:
        unpack(trial.archive, directory / "bin")
        if not os.access(launcher, os.X_OK):
            raise SettingsError("archive", f"has no launcher {trial.server} that can be executed")
        began = time.monotonic()
        await node.start()
        try:
            await node.until(lambda: node.state != "activating", START_SECONDS)
            if node.state != "active":
                raise TimeoutError("it has ended")
            await node.until_active(START_SECONDS)
        except TimeoutError:
            raise SettingsError("archive", f"does not start under the node:\n{node.log.rstrip()}") from None
        started = time.monotonic() - began
        stop = await node.stop()
        if stop.killed:
            raise SettingsError("archive", f"does not stop when the node says so:\n{node.log.rstrip()}")
        return Tried(started, stop.seconds)


def unpack(archive: Path, target: Path) -> None:
    """As tarsnode: descend while there is exactly one visible entry, and it is a directory; copy what is there."""
    temporary = target.parent / "patch"
    with tarfile.open(archive) as tar:
        tar.extractall(temporary, filter="data")
    at = temporary
    while True:
        visible = [each for each in at.iterdir() if not each.name.startswith(".")]
        if len(visible) != 1 or not visible[0].is_dir():
            break
        at = visible[0]
    shutil.copytree(at, target, dirs_exist_ok=True)
    shutil.rmtree(temporary)


def _own_python() -> str:
    """The interpreter without the packages of this environment, so that the release has to bring its own."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (Path(sys.base_prefix, "bin", version), Path(sys.base_prefix, "bin", "python3")):
        if path.exists():
            return str(path)
    return sys.executable
