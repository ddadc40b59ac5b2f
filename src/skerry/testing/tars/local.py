"""A small platform for a developer's machine: the doubles, and a node for each server, in one process.

Servers are started, watched and stopped as tarsnode does it; the registry knows those that are active; remote files
stand in a folder and can be changed. What a page or a test wants to see is `state()`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from skerry.errors import SettingsError
from skerry.tars.errors import TarsError
from skerry.tars.platform.configuration import MINIMUM_REPORT_SECONDS
from skerry.testing.tars.node import FakeNode, configuration_for, is_running
from skerry.testing.tars.platform import OBJECTS, TarsPlatform

WEB_OBJECT = "WebObj"
LOOK_SECONDS = 0.2
SHOWN = 200
LOG_BYTES = 64 * 1024
"""The end of a log in which the last error is looked for."""
_OBJECTS_OF = """
import json, os, sys
sys.path.insert(0, os.getcwd())
from skerry.kernel.importing import load_application
from skerry.tars.service import Service
found = load_application(sys.argv[1])
known = isinstance(found, Service)
print(json.dumps([list(found.servants), list(found.web)] if known else [[], []]))
"""


class LocalPlatform:
    """`async with LocalPlatform(folder) as local: await local.add("hello:service", "HelloServer")`."""

    def __init__(
        self, folder: Path, app: str = "Demo", registry_port: int = 0, grace_seconds: float = 5.0
    ) -> None:
        self.folder, self.app, self._grace_seconds = folder, app, grace_seconds
        self.platform = TarsPlatform(ports={"registry": registry_port} if registry_port else None)
        self.nodes: dict[str, FakeNode] = {}
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LocalPlatform:
        self.platform.config.limit = None  # who develops publishes as often as they like
        await asyncio.to_thread(self.platform.start)
        self._read_files()
        self._watch = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await asyncio.gather(*(node.__aexit__(kind, error, trace) for node in self.nodes.values()))
        await asyncio.to_thread(self.platform.stop)

    async def add(self, target: str, server: str, options: Sequence[str] = ()) -> FakeNode:
        """Deploy TARGET as `server`: its objects get adapters on free ports, and it is started. SettingsError when it
        cannot be imported."""
        servants, web = await _objects_of(target)
        configuration = configuration_for(
            server, servants, web=web or ([] if servants else [WEB_OBJECT]), app=self.app,
            environment={"PYTHONPATH": os.pathsep.join(_searched())}, deactivating_seconds=self._grace_seconds,
        ).changed(
            client=replace(
                self.platform.client_configuration(f"{self.app}.{server}"), report_seconds=MINIMUM_REPORT_SECONDS
            ),
            config=OBJECTS["config"], log=OBJECTS["log"], notify=self.platform.address("notify"),
        )  # fmt: skip
        command = [sys.executable, "-m", "skerry", "tars", "run", target, *options]
        node = FakeNode(self.folder / "tarsnode" / f"{self.app}.{server}", configuration, command)
        await node.__aenter__()
        self.nodes[configuration.name] = node
        for adapter in configuration.adapters:
            self.platform.registry.register(adapter.servant, str(adapter.endpoint))
            self.platform.registry.set_active(adapter.servant, False)
        await node.start()
        return node

    async def order(self, server: str, what: str) -> str:
        """`start`, `stop` or `restart` a server, as the platform's web page would; what came of it."""
        node = self._node(server)
        match what:
            case "start" if node.state == "inactive":
                return f"started, pid {await node.start()}"
            case "start":
                return f"it is {node.state} already"
            case "stop" | "restart" if node.state == "inactive":
                return "it does not run"
            case "stop":
                stop = await node.stop()
            case "restart":
                stop = await node.restart()
            case _:
                raise SettingsError("order", f"is start, stop or restart, not {what!r}")
        return f"{'killed' if stop.killed else 'ended'} after {stop.seconds:.1f} s"

    async def command(self, server: str, text: str) -> str:
        """`send command` of the web page."""
        try:
            return await self._node(server).send_command(text)
        except TarsError as error:
            return f"no answer: {error}"

    async def publish(self, server: str, name: str, text: str) -> str:
        """Save a remote file of the server, and have it loaded when the server runs."""
        if not name or name != os.path.basename(name) or name.startswith("."):
            raise SettingsError("a remote file", f"has a plain name, not {name!r}")
        node = self._node(server)
        await asyncio.to_thread(self._save, server, name, text)
        if node.state == "activating" and not is_running(node.pid):  # perhaps it was this file that it lacked
            return f"saved, and started, pid {await node.start()}"
        if node.state != "active":
            return "saved"
        return await self.command(server, f"tars.loadconfig {name}")

    def state(self) -> dict[str, Any]:
        """Everything that there is to see."""
        platform = self.platform
        return {
            "locator": platform.locator,
            "servers": [self._server_state(name, node) for name, node in self.nodes.items()],
            "objects": {
                name: [{"endpoint": str(each.endpoint), "active": each.active} for each in found]
                for name, found in sorted(platform.registry.objects.items())
            },
            "files": {
                f"{app}.{server}/{name}": text
                for (app, server, name, _, _), text in sorted(platform.config.files.items())
            },
            "calls": [
                {
                    "caller": head.masterName, "called": head.slaveName, "function": head.interfaceName,
                    "code": head.returnValue, "succeeded": body.count, "late": body.timeoutCount,
                    "failed": body.execCount, "milliseconds": body.totalRspTime,
                    "side": "caller" if client else "server",
                }
                for head, body, client in list(platform.stat.entries)[-SHOWN:]
            ],
            "properties": [
                {"module": head.moduleName, "name": head.propertyName, **policies}
                for head, policies in list(platform.property.entries)[-SHOWN:]
            ],
            "log": [
                {"log": f"{each.app}.{each.server}{'_' if each.file else ''}{each.file}", "lines": list(each.lines)}
                for each in list(platform.log.batches)[-SHOWN:]
            ],
            "notes": [f"{each.sApp}.{each.sServer}: {each.sMessage}" for each in list(platform.notify.notes)[-SHOWN:]],
        }  # fmt: skip

    def _server_state(self, name: str, node: FakeNode) -> dict[str, Any]:
        last = node.keep_alives[-1].at if node.keep_alives else None
        return {
            "name": name,
            "state": node.state,
            "pid": node.pid if node.state != "inactive" else 0,
            "starts": len(node.starts),
            "problem": problem_of(node),
            "kept_alive": None if last is None else round(time.monotonic() - last, 1),
            "config": str(node.config_file),
            "log": str(node.log_file),
            "adapters": [
                {
                    "object": each.servant,
                    "endpoint": str(each.endpoint),
                    "url": "" if each.speaks_tars else f"http://{each.endpoint.host}:{each.endpoint.port}/",
                }
                for each in node.configuration.adapters
            ],
        }

    async def _follow(self) -> None:
        """The registry knows which servers are active."""
        while True:
            for node in self.nodes.values():
                for adapter in node.configuration.adapters:
                    self.platform.registry.set_active(adapter.servant, node.state == "active")
            await asyncio.sleep(LOOK_SECONDS)

    def _node(self, server: str) -> FakeNode:
        found = self.nodes.get(server)
        if found is None:
            raise SettingsError("server", f"is {', '.join(self.nodes) or 'none, so far'}, not {server!r}")
        return found

    def _read_files(self) -> None:
        for path in sorted((self.folder / "config").glob("*.*/*")):
            app, _, server = path.parent.name.partition(".")
            self.platform.config.put(app, server, path.name, path.read_text(encoding="utf-8"))

    def _save(self, server: str, name: str, text: str) -> None:
        path = self.folder / "config" / server / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        app, _, short = server.partition(".")
        self.platform.config.put(app, short, name, text)


def problem_of(node: FakeNode) -> str:
    """Why a server that does not get active has ended, as the last error in its log says; empty for any other."""
    has_ended = len(node.starts) > 1 or not is_running(node.pid)
    if node.state != "activating" or not has_ended or not node.log_file.exists():
        return ""
    with node.log_file.open("rb") as file:
        file.seek(max(0, node.log_file.stat().st_size - LOG_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("level") in ("error", "critical"):
            return str(record.get("message", ""))
    return lines[-1] if lines else "it has ended and has written nothing"


def _searched() -> list[str]:
    """Where a server finds modules beside the installed ones: the working directory, as for `skerry`, then what
    PYTHONPATH has."""
    return [os.getcwd(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


async def _objects_of(target: str) -> tuple[list[str], list[str]]:
    """The servants and web applications that TARGET declares, looked up in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OBJECTS_OF, target,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    if process.returncode:
        raise SettingsError("TARGET", f"{target} cannot be imported: {err.decode().strip().splitlines()[-1]}")
    servants, web = json.loads(out.splitlines()[-1])
    return servants, web
