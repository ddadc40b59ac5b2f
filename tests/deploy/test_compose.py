"""The Compose and container files, as far as they can be checked without an engine: they parse, every command is one of
ours with options that exist, every variable is a setting, what is mounted, built and waited for is there."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import yaml  # type: ignore[import-untyped]

from skerry.cli.main import main
from skerry.kernel.importing import load_target
from skerry.kernel.settings import load_settings, options

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "livekv"}
SETTINGS = {option.variable for option in options()}


def example() -> dict[str, str]:
    """What an operator fills in."""
    lines = (DEPLOY / "example.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled(text: str) -> str:
    """`${NAME:?why}` replaced as Compose does. KeyError for a variable that nobody says how to set."""
    return re.sub(r"\$\{(\w+)(?::\?[^}]*)?\}", lambda found: example()[found[1]], text)


def test_the_topology_is_the_one_that_is_promised() -> None:
    """RabbitMQ, PostgreSQL, a balancer, three servers, consumers, a gateway."""
    roles = sorted(service["command"][0] for service in OURS.values())
    assert roles == ["balancer", "consumer", "consumer", "gateway", "server", "server", "server"]
    assert {"postgres", "rabbitmq"} == COMPOSE["services"].keys() - OURS.keys()


@pytest.mark.parametrize("name", OURS)
def test_each_command_exists_and_takes_its_options(name: str) -> None:
    """Click itself parses it: an unknown command, option or value would raise."""
    command, *arguments = OURS[name]["command"]
    found = main.get_command(click.Context(main), command)
    assert found is not None, command
    with click.Context(found, info_name=command) as context:
        found.parse_args(context, list(map(str, arguments)))
    target = context.params.get("target")
    if target:
        assert load_target(target).name == "livekv"


@pytest.mark.parametrize("name", OURS)
def test_each_variable_is_a_setting_with_a_value_that_is_accepted(name: str, tmp_path: Path) -> None:
    """A misspelt variable would be ignored in silence."""
    environment = {key: filled(str(value)) for key, value in OURS[name]["environment"].items()}
    assert environment.keys() <= SETTINGS
    settings = load_settings({}, environment, tmp_path)
    if OURS[name]["command"][0] != "balancer":
        assert settings.process == name
        assert (settings.namespace, settings.partitions) == ("livekv", 4)


def test_balancer_and_health_lead_to_the_servers() -> None:
    """The names behind `--to` are services, on the port that they bind."""
    arguments = OURS["balancer"]["command"]
    targets = [value for option, value in pairwise(arguments) if option == "--to"]
    servers = {name: service for name, service in OURS.items() if service["command"][0] == "server"}
    assert sorted(targets) == sorted(f"{name}:8999" for name in servers)
    for service in servers.values():
        assert service["command"][-1].endswith(":8999")
        assert ":8999/health/ready?for=traffic" in service["healthcheck"]["test"][-1]


def test_what_is_named_is_there() -> None:
    """Volumes are declared, waits name services, files exist, nothing but loopback is published."""
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in COMPOSE["volumes"], name
        assert set(service.get("depends_on", ())) <= COMPOSE["services"].keys(), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
            assert (DEPLOY / service["build"]["context"]).resolve() == ROOT


def test_processes_of_one_role_have_names_and_copies_of_their_own() -> None:
    """A server's copy of its memory lies under its name: two of one name would overwrite each other's."""
    names = [service["environment"].get("SKERRY_PROCESS") for service in OURS.values()]
    assert len(set(names)) == len(names)


def test_the_container_file_copies_what_exists_and_sets_what_is_read() -> None:
    """Every COPY of the context finds something, every SKERRY_ variable is a setting, the entry point is ours, it does
    not run as root, and what is pinned is what is installed."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    lines = [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]
    for words in lines:
        if words[0] == "COPY" and not words[1].startswith("--from="):
            assert all((ROOT / source).exists() for source in words[1:-1]), words
        if words[0] == "ENV":
            names = {word.split("=")[0] for word in words[1:]}
            assert {name for name in names if name.startswith("SKERRY_")} <= SETTINGS
    assert ["USER", "skerry"] in lines
    assert 'ENTRYPOINT ["skerry"]' in text
    assert "-c constraints/dev.txt" in text
