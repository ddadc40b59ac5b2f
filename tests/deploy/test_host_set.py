"""The files of deploy/three-hosts, as far as they can be checked without hosts; tests/faults/test_three_hosts.py runs
them."""

from __future__ import annotations

from pathlib import Path

from skerry.kernel.settings import load_settings, options

SET = Path(__file__).parents[2] / "deploy" / "three-hosts"


def pairs(name: str) -> dict[str, str]:
    lines = [line for line in (SET / name).read_text().splitlines() if line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, value in (line.split("=", 1) for line in lines)}


def test_each_variable_is_a_setting(tmp_path: Path) -> None:
    """A misspelt one would be ignored in silence; every host is in the URL."""
    environment = pairs("skerry.env")
    assert environment.keys() <= {option.variable for option in options()}
    settings = load_settings({}, environment, tmp_path)
    assert (settings.partitions, settings.namespace) == (4, "livekv")
    assert [host in environment["SKERRY_JOURNAL"] for host in ("host1:", "host2:", "host3:")] == [True] * 3


def test_the_cluster_of_brokers_is_one(tmp_path: Path) -> None:
    """Every node knows all three, and processes are given all of them."""
    settings = load_settings({}, pairs("skerry.env") | pairs("rabbitmq.env"), tmp_path)
    conf = pairs("rabbitmq.conf")
    nodes = [conf[f"cluster_formation.classic_config.nodes.{number}"] for number in (1, 2, 3)]
    assert nodes == ["rabbit@host1", "rabbit@host2", "rabbit@host3"]
    assert [f"{node.partition('@')[2]}:5672" in settings.transport for node in nodes] == [True] * 3


def test_a_commit_is_on_two_hosts() -> None:
    """Whoever is the primary waits for one of the others, and lets them in."""
    conf = pairs("postgresql.conf")
    assert conf["synchronous_standby_names"] == "'ANY 1 (host1, host2, host3)'"
    assert conf["synchronous_commit"] == "on"
    for host in ("host1", "host2", "host3"):
        assert f"host replication all {host} " in (SET / "pg_hba.conf").read_text()
