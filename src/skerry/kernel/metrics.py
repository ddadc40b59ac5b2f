"""The numbers of one process: what `/metrics` shows of memory, commands and listeners.

Most are read from what the parts count anyway, when somebody asks; nothing here is on a hot path.
"""

from __future__ import annotations

from functools import partial

from skerry.bus.consumer import Consumer
from skerry.bus.transport import CountsLosses, CountsWaiting
from skerry.emitter import EventEmitter
from skerry.http.attempts import Attempts
from skerry.http.hub import Hub
from skerry.journal.projector import Phase, Projector
from skerry.journal.reactor import ReactorRun
from skerry.kernel.kernel import Kernel
from skerry.kernel.writes import HttpWrites
from skerry.telemetry import Registry


def register_memory_metrics(kernel: Kernel) -> None:
    """Memory and the commands that are waited for."""
    registry, projector = kernel.registry, kernel.projector
    registry.gauge(
        "skerry_memory_offset",
        "The journal offset that memory has applied.",
        read=lambda: projector.position.offset,
    )
    registry.gauge(
        "skerry_memory_behind",
        "Known events that not every projection has applied.",
        read=lambda: projector.behind,
    )
    registry.gauge(
        "skerry_projections_stopped",
        "Projections that do not follow the journal any more.",
        read=lambda: len(projector.stopped),
    )
    registry.gauge(
        "skerry_memory_stale_seconds",
        "How long ago memory was last known to equal the journal.",
        read=lambda: min(projector.stale_seconds, 1e9),
    )
    registry.gauge("skerry_memory_live", "1 when memory follows the journal.", read=lambda: _live(projector))
    registry.gauge(
        "skerry_intake_waiting",
        "Events of the application's own transactions that are not in the journal yet, at most.",
        read=lambda: kernel.intake.waiting.rows if kernel.intake is not None else 0,
    )
    registry.gauge(
        "skerry_intake_waiting_seconds",
        "For how long the oldest of them has waited.",
        read=lambda: kernel.intake.waiting.seconds if kernel.intake is not None else 0.0,
    )
    registry.gauge(
        "skerry_commands_waiting", "Commands that this process waits for.", read=lambda: len(kernel.outcomes)
    )
    registry.gauge(
        "skerry_transport_connected",
        "1 when commands can be sent.",
        read=lambda: float(kernel.transport.connected),
    )
    transport = kernel.transport
    if isinstance(transport, CountsWaiting):
        registry.gauge(
            "skerry_queue_waiting",
            "Messages of commands that wait in the queue's table.",
            read=lambda: transport.waiting,
        )
    if isinstance(kernel.transport, CountsLosses):
        losses = kernel.transport
        registry.counter(
            "skerry_hints_dropped_total",
            "Hints that were not sent, because too much was waiting; readers repair themselves from the journal.",
            read=lambda: losses.dropped,
        )
        registry.counter(
            "skerry_foreign_messages_total",
            "Messages that no process of this application can have sent.",
            read=lambda: losses.foreign,
        )
    kernel.services.resolve(HttpWrites).observe = registry.histogram(
        "skerry_write_seconds", "From a write's request to its effect, visible in this process."
    ).observe
    applied = registry.counter("skerry_events_applied_total", "Events applied to memory.")
    gaps = registry.counter("skerry_gaps_total", "Gaps in hints, repaired from the journal.")
    reloads = registry.counter("skerry_reloads_total", "Loads of memory from a snapshot.")
    projector.events.on("applied", lambda offset, number: applied.inc(number))
    projector.events.on("gap", lambda expected, got: gaps.inc())
    projector.events.on("reloaded", lambda position: reloads.inc())
    moves = registry.counter("skerry_epochs_total", "New epochs of the journal in which memory went on.")
    lost = registry.counter(
        "skerry_journal_lost_total",
        "Events that memory had applied and the journal lost (1 when nobody knows how many).",
    )
    projector.events.on("moved", lambda position: moves.inc())
    projector.events.on("lost", lambda position, number: lost.inc(max(1, number)))


def _live(projector: Projector) -> float:
    return 1.0 if projector.phase is Phase.LIVE and not projector.stopped else 0.0


def register_hub_metrics(registry: Registry, hub: Hub) -> None:
    """Listeners, and what they were sent."""
    stats = hub.stats
    registry.gauge("skerry_listeners", "Open listeners.", read=lambda: stats.listeners)
    for name, help in (
        ("opened", "Listeners that came."),
        ("refused", "Listeners that found no room."),
        ("recovered", "Listeners that resumed without a loss."),
        ("not_recovered", "Listeners that had to load a snapshot."),
        ("deliveries", "Events written to listeners."),
        ("writes", "Writes to listeners; deliveries / writes is how many events travel together."),
        ("closed_slow", "Listeners sent away because they did not keep up."),
    ):
        read = partial(getattr, stats, name)
        registry.gauge(f"skerry_listeners_{name}", help + " The same as the counter.", read=read)
        registry.counter(f"skerry_listeners_{name}_total", help, read=read)

    for field, name, help in (
        ("snapshots", "skerry_listeners_snapshots_total", "Snapshots sent to listeners."),
        ("events", "skerry_listeners_events_total", "Events that were offered to listeners."),
        ("paused", "skerry_listeners_paused_total", "Listeners whose connection was full for a while."),
        ("held", "skerry_listeners_held_total", "Events held for listeners whose connection was full."),
        (
            "closed_silent",
            "skerry_listeners_closed_silent_total",
            "Listeners closed without an answer to a ping.",
        ),
        (
            "closed_restart",
            "skerry_listeners_closed_restart_total",
            "Listeners closed as this process ended.",
        ),
    ):
        registry.counter(name, help, read=partial(getattr, stats, field))
    registry.gauge(
        "skerry_listeners_lag_seconds",
        "How long after its commit the newest event was sent to listeners.",
        read=lambda: stats.lag_seconds,
    )


def register_login_metrics(registry: Registry, attempts: Attempts) -> None:
    """Failed logins."""
    registry.counter(
        "skerry_login_failures_total", "Unknown tokens at the login form.", read=lambda: attempts.failed
    )
    registry.counter(
        "skerry_login_limited_total",
        "Attempts to log in that were refused after too many failures.",
        read=lambda: attempts.refused,
    )


def register_consumer_metrics(
    registry: Registry, events: EventEmitter, consumers: dict[int, Consumer]
) -> None:
    """Batches and what became of commands."""
    commands = registry.counter("skerry_commands_decided_total", "Commands that this consumer decided.")
    batches = registry.histogram("skerry_batch_seconds", "From taking a batch to acknowledging it.")
    sizes = registry.histogram(
        "skerry_batch_commands",
        "Commands in a batch.",
        bounds=(1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0),
    )
    rejected = registry.counter("skerry_commands_rejected_total", "Commands that a rule refused.")
    dead = registry.counter("skerry_commands_dead_total", "Commands that became dead letters.")
    retries = registry.counter(
        "skerry_batch_retries_total", "Batches repeated because infrastructure failed."
    )

    def batch(count: int, seconds: float) -> None:
        commands.inc(count)
        batches.observe(seconds)
        sizes.observe(count)

    events.on("batch", batch)
    events.on("rejected", lambda id, reason: rejected.inc())
    events.on("dead", lambda letter: dead.inc())
    events.on("retrying", lambda error, pause: retries.inc())
    registry.gauge(
        "skerry_partitions", "Partitions that this consumer works on now.", read=lambda: len(consumers)
    )
    registry.gauge(
        "skerry_commands_held",
        "Commands that wait for a consumer which knows their type, or behind one of their key that does.",
        read=lambda: sum(c.waiting for c in consumers.values()),
    )
    registry.gauge(
        "skerry_journal_offset",
        "The journal's end as this consumer knows it.",
        read=lambda: max((c.position.offset for c in consumers.values()), default=0),
    )


def register_intake_metrics(registry: Registry, events: EventEmitter) -> None:
    """What became of events that foreign transactions left, in the process that moves them."""
    moved = registry.counter(
        "skerry_intake_moved_total", "Events of the application's own transactions moved into the journal."
    )
    dead = registry.counter("skerry_intake_dead_total", "Such events that became dead letters.")
    events.on("moved", lambda count, position: moved.inc(count))
    events.on("dead", lambda letter: dead.inc())


def register_reactor_metrics(registry: Registry, run: ReactorRun) -> None:
    """How far a reactor is, and what became of its tries, in the process that runs it."""
    name = run.reactor.name
    registry.gauge(
        "skerry_reactor_working",
        "1 in the process that runs the reactor.",
        read=lambda: run.at_work,
        reactor=name,
    )
    registry.gauge(
        "skerry_reactor_offset",
        "Up to where the reactor has processed every event; 0 where it does not run.",
        read=lambda: run.position.offset if run.at_work and run.position is not None else 0,
        reactor=name,
    )
    registry.gauge(
        "skerry_reactor_behind",
        "Events that the reactor has not processed.",
        read=lambda: run.behind if run.at_work else 0,
        reactor=name,
    )
    registry.gauge(
        "skerry_reactor_parked_keys",
        "Keys whose next event is being tried again.",
        read=lambda: len(run.parked),
        reactor=name,
    )
    done = registry.counter(
        "skerry_reactor_events_total", "Events that a reactor has processed.", reactor=name
    )
    retries = registry.counter(
        "skerry_reactor_retries_total", "Tries of a reactor that failed.", reactor=name
    )
    lost = registry.counter(
        "skerry_reactor_given_up_total", "Events of a reactor that became dead letters.", reactor=name
    )
    run.emitter.on("reacted", lambda name, record: done.inc())
    run.emitter.on("retrying", lambda name, record, error, pause: retries.inc())
    run.emitter.on("gave_up", lambda name, record, error: lost.inc())
