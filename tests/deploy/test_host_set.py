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


def test_a_commit_is_on_two_hosts() -> None:
    """Whoever is the primary waits for one of the others, and lets them in."""
    conf = pairs("postgresql.conf")
    assert conf["synchronous_standby_names"] == "'ANY 1 (host1, host2, host3)'"
    assert conf["synchronous_commit"] == "on"
    for host in ("host1", "host2", "host3"):
        assert f"host replication all {host} " in (SET / "pg_hba.conf").read_text()
