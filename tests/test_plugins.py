"""Backends, roles and settings of another distribution: found by entry points, used like ours, and nothing of ours is
touched for them. `fixtures/acme` is installed as pip would have done it: a module and its `.dist-info` on the path."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from livekv import app
from skerry.errors import SettingsError
from skerry.hosting.django.checks import journal_schemes
from skerry.kernel.settings import Settings, load_settings, sections
from skerry.plugins import BACKENDS, OURS, ROLES, SETTINGS, find, name_of, names, others
from skerry.roles.admin import open_admin
from skerry.roles.wiring import open_parts, plan
from skerry.testing.program import HttpConnection, Program, call

ACME = Path(__file__).parent / "fixtures" / "acme"
INSTALLED = {"PYTHONPATH": str(ACME)}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The distribution, in this process."""
    monkeypatch.syspath_prepend(str(ACME))
    others.cache_clear()
    yield
    sys.modules.pop("acme_skerry", None)
    others.cache_clear()


@pytest.mark.parametrize("group", OURS)
def test_ours_are_where_the_table_says(group: str) -> None:
    """Every address leads to something, under the name that it was given."""
    for name in OURS[group]:
        found = find(group, name)
        if group == SETTINGS:
            assert name_of(group, found) == name
        else:
            assert name in (getattr(found, "scheme", ""), getattr(found, "name", ""))


@pytest.mark.usefixtures("installed")
def test_others_stand_behind_ours() -> None:
    """By their entry points; a name of ours stays ours."""
    assert list(names(ROLES))[-1] == "beacon"
    assert "book" in names(BACKENDS)
    assert name_of(SETTINGS, find(SETTINGS, "book")) == "book"
    assert "book" in sections()
    assert find(BACKENDS, "nothing") is None


@pytest.mark.usefixtures("installed")
def test_django_may_name_its_journal() -> None:
    """The system checks of a project ask the plugins; what carries commands only is no journal."""
    found = journal_schemes()
    assert {"memory", "sqlite", "postgresql", "postgres", "book"} <= set(found)
    assert not {"local", "amqp", "amqps"} & set(found)


@pytest.mark.usefixtures("installed")
def test_its_settings_are_settings(tmp_path: Path) -> None:
    """File and environment, with its limits and choices."""
    (tmp_path / "skerry.toml").write_text("[book]\ncover = 'golden'\n")
    found = load_settings({}, {"SKERRY_BOOK_SHELF_SECONDS": "5"}, tmp_path)
    kind = find(SETTINGS, "book")
    assert found.of(kind) == kind(cover="golden", shelf_seconds=5.0)
    with pytest.raises(
        SettingsError, match=r"book.cover: 'blue' \(from environment\) is none of plain, golden"
    ):
        load_settings({}, {"SKERRY_BOOK_COVER": "blue"}, tmp_path)


@pytest.mark.usefixtures("installed")
async def test_its_journal_goes_with_our_transport(tmp_path: Path) -> None:
    """An owner and one that reads along by `local:`; an operator reaches it through the owner, and without."""
    settings = Settings(journal=f"book:///{tmp_path}/b.db", data=str(tmp_path))
    chosen = plan(settings, app.declaration.namespace, one_process=False, tables=list(app.declaration.tables))
    assert (chosen.journal, chosen.transport) == ("book", "local")
    async with open_parts(app.declaration, settings, chosen, decides=True, name="consumer") as owner:
        assert owner.writer is not None
        assert (tmp_path / "b.cover").read_text() == "plain"
        async with open_parts(app.declaration, settings, chosen, decides=False, name="server") as server:
            assert server.writer is None
            assert (await server.reader.head()).position.offset == 0
        async with open_admin(settings, chosen, app.declaration.namespace) as admin:
            assert admin.transport is not None
    async with open_admin(settings, chosen, app.declaration.namespace) as admin:
        assert admin.transport is None
        assert (await admin.journal.head()).position.offset == 0


@pytest.mark.usefixtures("installed")
def test_a_pair_that_it_does_not_name_is_refused_with_the_list() -> None:
    """The list has its pairs too."""
    with pytest.raises(
        SettingsError, match=r"amqp: does not go with journal book:.*book: with local: \(several"
    ):
        plan(Settings(journal="book:///b", transport="amqp://h/"), "acme", one_process=True)


async def test_a_user_runs_it(tmp_path: Path) -> None:
    """`skerry infra`, `run` and `journal tail` on its journal; what was written is there after a restart."""
    environ = {**INSTALLED, "SKERRY_JOURNAL": "book:///kept.db", "SKERRY_BOOK_COVER": "golden"}
    assert (await call(tmp_path, "infra", "create", "livekv:app", environ=environ)).code == 0
    assert (await call(tmp_path, "infra", "check", "livekv:app", environ=environ)).out == "ok\n"
    async with Program(tmp_path, "run", "livekv:app", "--bind", "127.0.0.1:0", environ=environ) as program:
        await program.listening()
        answer = await HttpConnection(program.port).ask("PUT", "/values/a", b"1")
        assert answer.status == 200
        assert await program.stop() == 0
    assert (tmp_path / "kept.cover").read_text() == "golden"
    told = await call(tmp_path, "journal", "tail", "livekv:app", environ=environ)
    assert '{"key":"a","value":"1"}' in told.out


async def test_its_role_runs_without_a_journal(tmp_path: Path) -> None:
    """`--role beacon` is enough; nothing is opened that it does not need."""
    environ = {
        **INSTALLED,
        "SKERRY_JOURNAL": "postgresql://nowhere.invalid/none",
        "SKERRY_TRANSPORT": "amqp://x.invalid/",
    }
    words = ("run", "livekv:app", "--role", "beacon", "--bind", "127.0.0.1:0")
    async with Program(tmp_path, *words, environ=environ) as program:
        await program.until(lambda: "listening on beacon://" in program.text)
        port = int(program.text.rpartition("127.0.0.1:")[2].partition('"')[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readline() == b"beacon of livekv\n"
        writer.close()
        assert await program.stop() == 0


async def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    """One line with the distribution and what its import raised."""
    broken = tmp_path / "broken-2.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 2\n")
    (broken / "entry_points.txt").write_text("[skerry.backends]\nnever = never_there:BACKEND\n")
    environ = {"PYTHONPATH": str(tmp_path), "SKERRY_JOURNAL": "never://x"}
    found = await call(tmp_path, "doctor", "livekv:app", environ=environ)
    assert found.code == 2
    assert found.error == (
        "skerry: never: never_there:BACKEND of broken cannot be loaded: "
        "ModuleNotFoundError: No module named 'never_there'\n"
    )
