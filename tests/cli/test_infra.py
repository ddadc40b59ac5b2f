"""`skerry infra` on the embedded default: a file that is made, looked at, and deleted only when nobody has it open."""

from __future__ import annotations

import os
from pathlib import Path

from skerry.testing.program import Finished, HttpConnection, Program, call

APPLICATION = """
from skerry import App
app = App("keeper")
app.migrations("migrations")
"""


def files(directory: Path) -> list[str]:
    return sorted(
        name for _, _, names in os.walk(directory) for name in names if name.endswith((".db", ".warm"))
    )


async def infra(directory: Path, *arguments: str) -> Finished:
    return await call(directory, "infra", *arguments)


async def test_a_file_from_nothing_to_nothing(tmp_path: Path) -> None:
    """`check` makes nothing; `create` makes file and tables, once; `drop` without a yes deletes nothing."""
    checked = await infra(tmp_path, "check", "livekv:app")
    assert (checked.code, checked.error.splitlines()) == (
        1,
        ["file .skerry/livekv.db is missing", "table livekv_key_value is missing"],
    )
    assert files(tmp_path) == []
    assert "made table livekv_key_value" in (await infra(tmp_path, "create", "livekv:app")).out
    assert (await infra(tmp_path, "create", "livekv:app")).out == "nothing was missing\n"
    assert (await infra(tmp_path, "check", "livekv:app")).out == "ok\n"
    assert (await infra(tmp_path, "drop", "livekv:app")).code == 1
    assert files(tmp_path) == ["livekv.db"]
    assert (await infra(tmp_path, "drop", "--yes", "--namespace", "livekv")).code == 0
    assert [name for _, _, names in os.walk(tmp_path) for name in names] == []
    assert (await infra(tmp_path, "drop", "--yes", "livekv:app")).out == "there was nothing\n"


async def test_what_runs_is_not_dropped(tmp_path: Path) -> None:
    """While a process owns the file: `check` and `create` are content, `drop` names the process, forced or not; when it
    has ended, its copy of memory goes too."""
    async with Program(tmp_path, "run", "livekv:app", "--bind", "127.0.0.1:0") as program:
        connection = HttpConnection(await program.listening())
        assert (await connection.ask("PUT", "/values/a", b"1")).status == 200
        assert (await infra(tmp_path, "check", "livekv:app")).out == "ok\n"
        assert (await infra(tmp_path, "create", "livekv:app")).out == "nothing was missing\n"
        for force in ((), ("--force",)):
            refused = await infra(tmp_path, "drop", "--yes", "livekv:app", *force)
            assert (refused.code, f"owned by process {program.pid}" in refused.error) == (1, True)
        assert (await connection.ask("GET", "/values/a")).status == 200
        connection.close()
        assert await program.stop() == 0
    assert len(files(tmp_path)) == 2
    assert "dropped file .skerry/livekv." in (await infra(tmp_path, "drop", "--yes", "livekv:app")).out
    assert files(tmp_path) == []


async def test_tables_of_the_applications_own(tmp_path: Path) -> None:
    """`create` runs the application's migrations, `check` names a step that was added, a wrong one is told with its
    number and leaves things as they were, `drop` runs erase.sql."""
    (tmp_path / "keeper.py").write_text(APPLICATION)
    steps = tmp_path / "migrations"
    steps.mkdir()
    (steps / "0001.sql").write_text("create table room (name text)")
    (steps / "erase.sql").write_text("drop table room")
    assert (await infra(tmp_path, "create", "keeper:app")).code == 0
    (steps / "0002.sql").write_text("create table room (name text)")
    checked = await infra(tmp_path, "check", "keeper:app")
    assert (checked.code, checked.error) == (1, "version 2 of the application's own tables is missing\n")
    created = await infra(tmp_path, "create", "keeper:app")
    assert created.code == 1
    assert "step 2 of the application's own tables" in created.error
    assert "already exists" in created.error
    dropped = await infra(tmp_path, "drop", "--yes", "keeper:app")
    assert (dropped.code, "the application's own tables" in dropped.out) == (0, True)
    assert files(tmp_path) == []


async def test_wrong_settings_end_with_one_line(tmp_path: Path) -> None:
    """Exit code 2 and what would be right."""
    wrong = (
        ("check",),
        ("create", "livekv:nothing"),
        ("drop", "--yes", "livekv:app", "--journal", "memory:"),
        ("check", "livekv:app", "--journal", "sqlite:///a.db", "--transport", "amqp://x"),
    )
    for arguments in wrong:
        ended = await infra(tmp_path, *arguments)
        assert (ended.code, len(ended.error.splitlines())) == (2, 1), ended
