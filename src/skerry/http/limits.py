"""What the hub of one process allows, and what it counted. The close codes that tell a listener why it has to go."""

from __future__ import annotations

from dataclasses import dataclass

RESTART = 1012  # RFC 6455 registry: "Service Restart", the client may reconnect after a random pause
TRY_LATER = 1013  # "Try Again Later": too slow here; reconnect and catch up
SILENT = 1011  # no answer to a ping


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Limits of one process. `slice_bytes`: most that one listener is sent in a loop turn of catching up, and of one
    write; `turn_bytes`: about the most that all of them together are sent in such a turn. `held_bytes`: most that is
    held for a slow one. `replay_events`: a longer history is told as a snapshot. `wait_seconds`: how long a listener
    that is ahead of this process waits for it. `backlog_reads`: journal reads at a time. `announcements_per_second`:
    connection events told one by one; above it they are summed up once a second.

    `snapshot_seconds`: how long a snapshot of more than one slice is given to newcomers too. `snapshot_bytes`: most
    that all snapshots of a channel keep for those who lag behind their foremost reader; half of it, most that
    one keeps of what happened since. `snapshots_at_once`: snapshots that are being produced."""

    ping_seconds: int = 25
    pong_seconds: int = 8
    slice_bytes: int = 64 * 1024
    turn_bytes: int = 256 * 1024
    held_bytes: int = 1 << 20
    max_listeners: int = 20_000
    opens_per_second: int = 1000
    replay_events: int = 10_000
    wait_seconds: float = 2.0
    backlog_seconds: float = 10.0
    backlog_reads: int = 4
    announcements_per_second: int = 100
    snapshot_seconds: float = 5.0
    snapshot_bytes: int = 32 << 20
    snapshots_at_once: int = 64


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
