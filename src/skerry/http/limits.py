"""What the hub of one process allows, and what it counted. The close codes that tell a listener why it has to go."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.options import option, same_as

RESTART = 1012  # RFC 6455 registry: "Service Restart", the client may reconnect after a random pause
TRY_LATER = 1013  # "Try Again Later": too slow here; reconnect and catch up
SILENT = 1011  # no answer to a ping


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Limits of the streams of one process."""

    ping_seconds: int = option(25, "between two pings of a listener", least=1, most=3600)
    pong_seconds: int = option(8, "that a listener may take to answer a ping", least=1, most=3600)
    slice_bytes: int = option(
        64 * 1024,
        "maximum per listener and turn of the loop while it catches up, and per write",
        least=1024,
        most=1 << 24,
    )
    turn_bytes: int = option(256 * 1024, "the same, summed over all listeners", least=1024, most=1 << 28)
    held_bytes: int = option(1 << 20, "maximum held for a slow listener", least=1024, most=1 << 30)
    max_listeners: int = same_as("max_listeners", 20_000)
    opens_per_second: int = option(1000, "new listeners within a second", least=1, most=1_000_000)
    replay_events: int = option(
        10_000, "missed events that are told one by one; more become a snapshot", least=0, most=10_000_000
    )
    wait_seconds: float = option(
        2.0, "that a listener which is ahead of this process waits for it", least=0.0, most=60.0
    )
    backlog_seconds: float = option(
        10.0, "that a listener may take to read what it missed", least=0.1, most=3600.0
    )
    backlog_reads: int = option(4, "reads of the journal for listeners at a time", least=1, most=1000)
    announcements_per_second: int = option(
        100, "connection events told one by one; above it they are summed up", least=1, most=1_000_000
    )
    snapshot_seconds: float = option(
        5.0, "that a snapshot of more than one slice is given to newcomers too", least=0.0, most=3600.0
    )
    snapshot_bytes: int = option(
        32 << 20,
        "that snapshots of a channel keep for slow readers; half of it, what one keeps of events since",
        least=1 << 16,
        most=1 << 34,
    )
    snapshots_at_once: int = option(64, "snapshots that are being made", least=1, most=100_000)


@dataclass(slots=True)
class HubStats:
    """Counters since start, for `/metrics`; `listeners` is the present number."""

    listeners: int = 0
    opened: int = 0
    refused: int = 0
    recovered: int = 0
    not_recovered: int = 0
    snapshots: int = 0
    events: int = 0
    deliveries: int = 0
    writes: int = 0
    paused: int = 0
    held: int = 0
    closed_slow: int = 0
    closed_silent: int = 0
    closed_restart: int = 0
    lag_seconds: float = 0.0
