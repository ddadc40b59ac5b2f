"""`skerry settings`: what is set, to what, and by whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from skerry.cli.main import main


def run(*words: str, **environ: str) -> tuple[int, str]:
    found = CliRunner().invoke(main, ["settings", *words], env=dict(environ))
    return found.exit_code, found.output


def test_changed_settings_are_listed_with_their_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, environment, command line and application; a token is not shown."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "skerry.toml").write_text("[hub]\nheld_bytes = 2048\n")
    (tmp_path / "few.py").write_text(
        "from skerry import App\nfrom skerry.settings import ConsumerSettings\n"
        "app = App('few', settings=[ConsumerSettings(attempts=9)])\n"
    )
    code, output = run(
        "few:app", "--changed", "--set", "server.backlog=5", SKERRY_TOKENS="read:secret", SKERRY_WAIT="1"
    )
    assert code == 0
    assert [line.split()[:3] for line in output.splitlines()] == [
        ["wait", "1.0", "environment"],
        ["tokens", "(not", "shown)"],
        ["server.backlog", "5", "command"],
        ["hub.held_bytes", "2048", "skerry.toml"],
        ["consumer.attempts", "9", "application"],
    ]
    assert "secret" not in output


def test_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting of a part with its meaning; a table that is none is told."""
    monkeypatch.chdir(tmp_path)
    code, output = run("--table", "projector")
    assert (code, len(output.splitlines())) == (0, 5)
    assert "seconds between two looks at the journal's end" in output
    code, output = run("--table", "projectr")
    assert (code, output.startswith("skerry: table: 'projectr' is none of server,")) == (2, True)


@pytest.mark.parametrize("given", ["hub.ping_seconds", "ping=3"])
def test_a_set_that_is_none(given: str) -> None:
    """The cure is in the line."""
    code, output = run("--set", given)
    assert code == 2
    assert "is not NAME=VALUE, as in hub.ping_seconds=10" in output


@pytest.mark.parametrize("time", ["first", "second"])
def test_the_variables_of_one_test_are_those_of_no_other(
    time: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a command in this process takes over from a `.env` is not there in the next test."""
    assert "SKERRY_JOURNAL_TAIL_LINES" not in os.environ, time
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SKERRY_JOURNAL_TAIL_LINES=7\n")
    assert run()[0] == 0
    assert os.environ["SKERRY_JOURNAL_TAIL_LINES"] == "7"
