"""The local log: rolled by size, by several processes at once, nothing lost."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from skerry.tars.platform.rolling import RollingLogHandler

WRITER = """
import logging, sys
from skerry.tars.platform.rolling import RollingLogHandler
handler = RollingLogHandler(sys.argv[1], "Demo.PyServer", 2000, 100)
handler.setFormatter(logging.Formatter("%(message)s"))
log = logging.getLogger("w"); log.addHandler(handler); log.setLevel("INFO")
for number in range(200):
    log.info("%s %04d %s", sys.argv[2], number, "x" * 30)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.log")}


def test_sizes_and_numbers(tmp_path: Path) -> None:
    """The newest file has no number, the oldest goes."""
    handler = RollingLogHandler(tmp_path / "logs", "Demo.PyServer", 100, 3)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for number in range(10):
        handler.handle(logging.makeLogRecord({"msg": f"{number} {'x' * 50}"}))
    handler.close()
    assert names(tmp_path / "logs") == {"Demo.PyServer.log", "Demo.PyServer1.log", "Demo.PyServer2.log"}
    assert (tmp_path / "logs" / "Demo.PyServer.log").read_text(encoding="utf-8").startswith("9 ")
    assert (tmp_path / "logs" / "Demo.PyServer2.log").read_text(encoding="utf-8").startswith("7 ")


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    """Each line is there once, whole, whoever rolled."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    lines = [
        line for path in tmp_path.glob("*.log") for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert sorted(lines) == sorted(
        f"{name} {number:04d} {'x' * 30}" for name in "ab" for number in range(200)
    )
    assert len(names(tmp_path)) > 2
