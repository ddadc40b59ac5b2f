"""Starts processes by a fork server, in a process that is nothing else (it takes in orphans): fork_runner.py
DIRECTORY SCENARIO. Writes what came of it as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from skerry.process.child import Child, Spec
from skerry.process.forkserver import ForkServer
from skerry.process.reaping import adopt_orphans, reap_orphans

PROGRAM = str(Path(__file__).with_name("fork_program.py"))
ROOM = "-" * 100


class Scenario:
    """See the module."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.directory = directory
        self.said: list[str] = []
        self.told: list[dict[str, Any]] = []
        command = [sys.executable, PROGRAM, str(directory), "serve", kind, ROOM]
        self.forks = ForkServer(
            Spec("forkserver", "forkserver", command, {"GIVEN": "to all", "SERVER_ONLY": "yes"}),
            60.0,
            lambda child, text, is_record: self.said.append(text),
            lambda text, level: self.said.append(text),
        )

    async def child(self, what: str = "tell", code: int = 7, role: str = "server") -> Child:
        """Start one and wait for its end."""
        lines: list[str] = []
        passed, other = os.pipe()
        os.set_inheritable(passed, True)
        command = [sys.executable, PROGRAM, str(self.directory), what, str(code)]
        child = Child(
            Spec(f"{role}-1", role, command, {"GIVEN": f"to {role}"}, {"PASSED_FD": passed}),
            lambda child, word: None,
            lambda child, text, is_record: lines.append(text),
            lambda child: None,
            launcher=self.forks,
        )
        await child.start()
        os.close(passed)
        os.close(other)
        await asyncio.wait_for(child.ended, 60)
        self.told.append({"code": child.exit_code, **json.loads(lines[0])})
        return child

    async def play(self, name: str) -> None:
        await self.child()
        if name == "changed":
            (self.directory / "application.py").write_text("another")
        if name == "killed":
            [server] = self.forks.children
            server.signal(signal.SIGKILL)
            await asyncio.wait_for(server.ended, 60)
        if name == "renewed":
            self.forks.equip({"GIVEN": "to all", "SERVER_ONLY": "later"})
            await self.forks.renew()
        await self.child("leave" if name == "orphan" else "tell", 8)
        servers = self.forks.children
        self.forks.close()
        for server in servers:
            await asyncio.wait_for(server.ended, 60)
        try:
            for _ in range(600):
                reap_orphans(set())
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # noqa: ASYNC222 - does not wait
                await asyncio.sleep(0.05)
            self.said.append("a child is left")
        except ChildProcessError:
            pass


async def main() -> None:
    scenario = Scenario(Path(sys.argv[1]), sys.argv[3])
    assert adopt_orphans()
    await scenario.play(sys.argv[2])
    print(json.dumps({"told": scenario.told, "said": scenario.said}))


asyncio.run(main())
