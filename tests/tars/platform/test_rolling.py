"""The local log: rolled by size, by several processes at once, nothing lost."""

from __future__ import annotations

import logging
import logging.config
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry import tars
from skerry.errors import SettingsError
from skerry.tars.platform import rolling
from skerry.tars.platform.services import Services
from skerry.testing.tars.node import configuration_for

WRITER = """
import logging, pathlib, sys
from skerry.tars.platform.rolling import Place, RollingLogHandler, install
install(Place(pathlib.Path(sys.argv[1]), "Demo.PyServer", 2000, 100))
handler = RollingLogHandler("orders")
handler.setFormatter(logging.Formatter("%(message)s"))
log = logging.getLogger("w"); log.addHandler(handler); log.setLevel("INFO")
for number in range(200):
    log.info("%s %04d %s", sys.argv[2], number, "x" * 30)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.log")}


@pytest.fixture(autouse=True)
def nowhere() -> Iterator[None]:
    """No place is left for other tests."""
    yield
    rolling.install(None)


def test_sizes_and_numbers_of_the_platforms_file(tmp_path: Path) -> None:
    """As Django's LOGGING names it: the newest file has no number, the oldest goes."""
    logging.config.dictConfig({
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"bare": {"format": "%(message)s"}},
        "handlers": {
            "orders": {"class": "skerry.tars.RollingLogHandler", "file": "orders", "formatter": "bare"}
        },
        "loggers": {"tests.rolling": {"handlers": ["orders"], "level": "INFO", "propagate": False}},
    })  # fmt: skip
    log = logging.getLogger("tests.rolling")
    log.info("there is no service yet")
    given = configuration_for("PyServer", []).changed(log_path=str(tmp_path), log_bytes=100, log_files=3)
    Services(given).capture_logs()
    for number in range(10):
        log.info("%d %s", number, "x" * 50)
    folder = tmp_path / "Demo" / "PyServer"
    assert names(folder) == {f"Demo.PyServer_orders{number}.log" for number in ("", 1, 2)}
    assert (folder / "Demo.PyServer_orders.log").read_text(encoding="utf-8").startswith("9 ")
    assert (folder / "Demo.PyServer_orders2.log").read_text(encoding="utf-8").startswith("7 ")


def test_a_log_is_a_plain_name() -> None:
    """It stays in the folder."""
    with pytest.raises(SettingsError, match="plain name"):
        tars.RollingLogHandler("../orders")


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
