"""Every option of every command is also a variable, may stand in .env and in skerry.toml."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from skerry.cli.main import main
from skerry.kernel.settings import OF_COMMAND, PREFIX, Settings, options, sections
from skerry.options import options_of


def commands(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from commands(found, *words, name)
    else:
        yield words, command


def test_every_option_has_a_variable() -> None:
    """A setting by its own name, any other by its command's: none is a flag only."""
    settings = {option.name for option in options()}
    settings |= {option.key for name, record in sections().items() for option in options_of(record, name)}
    seen = 0
    for words, command in commands(main):
        for parameter in command.params:
            if not isinstance(parameter, click.Option) or parameter.name in ("help", "parts", None):
                continue
            seen += 1
            variable = "_".join((*words, parameter.name)).upper()
            if parameter.allow_from_autoenv:
                assert OF_COMMAND.fullmatch(PREFIX + variable), variable
            else:
                assert parameter.name in settings, variable
    assert seen > 100


def write(directory: Path, source: str, variable: str, value: str, table: str) -> dict[str, str]:
    if source == "environment":
        return {variable: value}
    if source == ".env":
        (directory / ".env").write_text(f"{variable}={value}\n")
    else:
        option = variable.rpartition("_")[2].lower()
        (directory / "skerry.toml").write_text(
            f'namespace = "shop"\n[commands.{table}]\n{option} = {value}\n'
        )
    return {}


@pytest.mark.parametrize("source", ["environment", ".env", "skerry.toml"])
def test_an_option_of_one_command_from_each_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Taken where the flag is not given; the flag wins; a value that does not fit is said as for the flag."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {**os.environ})
    environment = write(tmp_path, source, "SKERRY_DEAD_LIST_LIMIT", "7", "dead.list")
    seen: list[int] = []
    [listing] = [command for words, command in commands(main) if words == ("dead", "list")]
    monkeypatch.setattr(listing, "callback", lambda **given: seen.append(given["limit"]))
    runner = CliRunner()
    assert runner.invoke(main, ["dead", "list"], env=environment).exit_code == 0
    assert runner.invoke(main, ["dead", "list", "--limit", "3"], env=environment).exit_code == 0
    assert seen == [7, 3]
    environment = write(tmp_path, source, "SKERRY_DEAD_LIST_LIMIT", '"many"', "dead.list")
    monkeypatch.delenv("SKERRY_DEAD_LIST_LIMIT", raising=False)
    refused = runner.invoke(main, ["dead", "list"], env=environment)
    assert refused.exit_code == 2
    assert "not a valid integer" in refused.output


def test_a_slip_in_the_files_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is none, and a name that only looks like one of ours."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "skerry.toml").write_text("commands = 3\n")
    found = CliRunner().invoke(main, ["ps"])
    assert (found.exit_code, found.output) == (2, "skerry: skerry.toml: [commands] is not a table\n")
    (tmp_path / "skerry.toml").unlink()
    (tmp_path / ".env").write_text("SKERRY_JOURNALS=memory:\n")
    found = CliRunner().invoke(main, ["run", "livekv:app"])
    assert found.exit_code == 2
    assert "did you mean SKERRY_JOURNAL?" in found.output


def test_roles_and_servers_elsewhere_are_settings() -> None:
    """What may be repeated as a flag is separated by commas elsewhere; a wrong one is refused by name."""
    assert Settings(role="consumer, server").role == "consumer, server"
    with pytest.raises(Exception, match="role: 'sever' is none of consumer, server, gateway"):
        Settings(role="sever")
    with pytest.raises(Exception, match="to: 'here:there' is not HOST:PORT"):
        Settings(to="127.0.0.1:80,here:there")


def test_up_takes_processes_and_still_names_for_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--hosts N` is a number of processes; names that are served are taken as before, and the flag for them named."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    many = runner.invoke(main, ["up", "nowhere:app", "--hosts", "999"])
    assert (many.exit_code, "host.processes" in many.output) == (2, True)
    with pytest.warns(DeprecationWarning, match="--server-names"):
        named = runner.invoke(main, ["up", "nowhere:app", "--hosts", "kv.example.org"])
    assert "for names write --server-names" in named.output
    assert "no module 'nowhere'" in named.output
    wrong = runner.invoke(main, ["up", "nowhere:app", "--server-names", "a b"])
    assert (wrong.exit_code, "NAME[:PORT]" in wrong.output) == (2, True)
