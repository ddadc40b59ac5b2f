"""What `skerry ps` shows."""

from __future__ import annotations

import msgspec

from skerry.process.tree import ForkServerStatus, ProcessStatus, RunnerStatus, duration, rendered, size


def test_the_tree_shows_state_restarts_lag_memory_and_the_last_failure() -> None:
    """One line for each process; tracebacks only when asked for."""
    processes = [
        ProcessStatus("balancer", "balancer", 11, "ready", 0, 65.0, 20 << 20, 0.1),
        ProcessStatus(
            "server-1", "server", 12, "not ready", 2, 4.0, 40 << 20, 0.2, ["catching up"],
            {"lag": 7, "connections": 3}, "server-1 was killed by SIGKILL", "Traceback ...\nBoom", 90.0,
        ),
        ProcessStatus("consumer-1", "consumer", 0, "waiting to restart", 1, 0.0, 0, 0.0),
    ]  # fmt: skip
    status = RunnerStatus("livekv:app", "livekv", "http://127.0.0.1:8999", 10, 3700.0, 30 << 20, processes)
    lines = rendered(status, 100.0).splitlines()
    assert lines[0] == "livekv:app on http://127.0.0.1:8999 (up 1h01m, pid 10, 30 MiB)"
    assert lines[2].split() == ["├─", "balancer", "11", "ready", "0", "1m05s", "-", "-", "20", "MiB", "-"]
    assert "not ready (catching up)" in lines[3]
    assert lines[3].endswith("7    3     40 MiB  -     10s ago: server-1 was killed by SIGKILL")
    assert lines[4].startswith("└─ consumer-1  -    waiting to restart")
    assert "Boom" not in rendered(status, 100.0)
    assert "Boom" in rendered(status, 100.0, details=True)


def test_the_process_that_the_others_are_forked_from_is_named() -> None:
    """Under the table: it is none of the roles, and has memory too."""
    none = RunnerStatus("livekv:app", "livekv", "", 10, 1.0, 1, [])
    assert "forked" not in rendered(none, 100.0)
    status = msgspec.structs.replace(none, fork_server=ForkServerStatus(11, 185.0, 60 << 20))
    assert rendered(status, 100.0).splitlines()[-1] == "forked from pid 11 (up 3m05s, 60 MiB)"


def test_numbers_for_people() -> None:
    """Durations and sizes."""
    assert [duration(s) for s in (7, 185, 7620, 356400)] == ["7s", "3m05s", "2h07m", "4d03h"]
    assert [size(n) for n in (12, 2048, 5 << 20, 3 << 30)] == ["12 B", "2 KiB", "5 MiB", "3.0 GiB"]
