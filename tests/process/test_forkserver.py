"""Processes that are forked from one that has imported the application, over real ones."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")
RUNNER = Path(__file__).with_name("fork_runner.py")


@dataclass
class Outcome:
    """What two processes told of themselves, one after the other, and what was said."""

    first: dict[str, Any]
    second: dict[str, Any]
    said: list[str]


async def played(directory: Path, scenario: str, kind: str = "plain") -> Outcome:
    """Two processes are started, and in between something happens."""
    (directory / "application.py").write_text("one")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(RUNNER), str(directory), scenario, kind, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0
    told = json.loads(out)
    first, second = told["told"]
    return Outcome(first, second, told["said"])


async def test_a_copy_is_a_child_like_any_other(tmp_path: Path) -> None:
    """It is the runner's own child and leads a group; its exit code is told; it has the environment, the command line
    and exactly the descriptors that it is given."""
    outcome = await played(tmp_path, "plain")
    assert (outcome.first["code"], outcome.second["code"]) == (7, 8)
    for told in (outcome.first, outcome.second):
        assert told["imported"] == "one", "it was executed"
        assert (told["is_child"], told["leads"]) == (True, True)
        assert (told["given"], told["server_only"]) == ("to server", "")
        assert told["title"][:2] == ["tell", str(told["code"])]
        listing = set(told["descriptors"]) - {0, 1, 2, told["control"], told["looked"], told["passed"]}
        assert len(listing) == 1, "beside that of the listing itself"
    assert outcome.said == []


async def test_numbers_by_chance_are_not_shared(tmp_path: Path) -> None:
    """Each copy goes on with other random numbers, but for those of a generator that was given a seed."""
    outcome = await played(tmp_path, "plain")
    one, other = outcome.first, outcome.second
    assert one["random"] != other["random"]
    assert one["by_chance"] != other["by_chance"]
    assert one["by_seed"] == other["by_seed"]


async def test_files_that_changed_are_imported_anew(tmp_path: Path) -> None:
    """A process starts with the files as they are."""
    outcome = await played(tmp_path, "changed")
    assert (outcome.first["imported"], outcome.second["imported"]) == ("one", "another")
    assert outcome.said == []


async def test_a_fork_server_that_dies_is_replaced(tmp_path: Path) -> None:
    """The next process comes from another one, and that is said."""
    outcome = await played(tmp_path, "killed")
    assert outcome.second["imported"] == "one"
    assert outcome.said == [
        "forkserver was killed by SIGKILL; another one is made when a process starts",
    ]


async def test_a_renewed_one_has_what_it_is_given_now(tmp_path: Path) -> None:
    """A replacement of all imports anew; who was forked before had ended or goes on."""
    outcome = await played(tmp_path, "renewed")
    assert (outcome.first["imported"], outcome.second["imported"]) == ("one", "one")
    assert (outcome.second["code"], outcome.said) == (8, [])


async def test_orphans_are_waited_for(tmp_path: Path) -> None:
    """What a child has left behind comes to the runner, and is no zombie for long."""
    outcome = await played(tmp_path, "orphan")
    assert (outcome.second["code"], outcome.said) == (8, [])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("threads", "threads run"),
        ("file", "descriptor"),
        ("process", "another process was started"),
        ("directory", "something is to be removed at the end of the process"),
    ],
)
async def test_what_belongs_to_one_process_is_not_copied(tmp_path: Path, kind: str, reason: str) -> None:
    """An import that leaves such a thing behind is made in each process; that is said once, with the reason."""
    outcome = await played(tmp_path, "plain", kind)
    assert (outcome.first["imported"], outcome.first["code"], outcome.second["code"]) == ("", 7, 8)
    [said] = outcome.said
    assert said.startswith(f"every process imports the application itself: after its import {reason}")


async def test_receivers_of_django_are_copied(tmp_path: Path) -> None:
    """Django's signals note by a finalizer that a receiver has gone: that touches memory only."""
    outcome = await played(tmp_path, "plain", "receiver")
    assert (outcome.first["imported"], outcome.second["imported"], outcome.said) == ("one", "one", [])


@pytest.mark.parametrize(("kind", "lines"), [("raises", 0), ("exits", 1)])
async def test_an_import_that_fails_is_left_to_each_process(tmp_path: Path, kind: str, lines: int) -> None:
    """Each of them says what is wrong itself."""
    outcome = await played(tmp_path, "plain", kind)
    assert (outcome.first["imported"], outcome.first["code"], outcome.second["code"]) == ("", 7, 8)
    assert len(outcome.said) == lines
