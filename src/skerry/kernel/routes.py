"""The routes that every application has: the state of a command, health, metrics, the stream of events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skerry.bus.outcomes import Outcomes, receipt_of
from skerry.bus.transport import Announcement, Transport
from skerry.http.attempts import Attempts
from skerry.http.auth import Tokens
from skerry.http.events import Events
from skerry.http.health import OWN_PAGES, Check, install_metrics
from skerry.http.hub import Hub
from skerry.http.limits import HubSettings
from skerry.http.login import install as install_login
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.http.snapshots import Snapshot
from skerry.injection import Plan, by_name, named
from skerry.journal.journal import JournalReader, Status
from skerry.journal.projector import Projector
from skerry.kernel import asyncapi
from skerry.kernel.checks import reading_checks
from skerry.kernel.kernel import Kernel
from skerry.kernel.metrics import register_hub_metrics, register_login_metrics
from skerry.kernel.presence import Presence
from skerry.kernel.sessions import RevokedSessions, heed, revoking
from skerry.kernel.writes import HttpWrites
from skerry.position import Position
from skerry.telemetry import Metric

LISTENERS = "skerry.listeners"
"""Topic of announcements about connections."""
PROCESS_LEFT = "process_left"
"""Topic of a transport that noticed the end of a process; the payload is its address, NAME.NUMBER."""

_encode = msgspec.json.Encoder().encode


_HEX = frozenset("0123456789abcdef")


class TransportAnnouncer:
    """Connection events to every process, over the transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._presence = Presence()

    def announce(self, payload: bytes) -> None:
        self._transport.announce(Announcement(LISTENERS, payload))

    def subscribe(self, listener: Callable[[bytes], None]) -> Callable[[], None]:
        def heard(announcement: Announcement) -> None:
            if announcement.topic == LISTENERS:
                self._presence.heard(announcement.payload)
                listener(announcement.payload)
            elif announcement.topic == PROCESS_LEFT:  # perhaps killed: it could not say so itself
                name = announcement.payload.decode("utf-8", "replace").rpartition(".")[0]
                for payload in self._presence.left(name):
                    listener(payload)

        return self._transport.announcements(heard)


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What the routes need to know of the process around them: why it is not ready, the numbers of its server, and,
    under `skerry up`, those of all processes as text. `checks`: what else makes the process ready, or not."""

    reasons: Callable[[], tuple[str, ...]] = tuple
    collect: Callable[[], Iterable[Metric]] = tuple
    all_metrics: Callable[[], Awaitable[str]] | None = None
    checks: Mapping[str, Check] = field(default_factory=dict)


def declare_routes(kernel: Kernel, around: ProcessInfo | None = None) -> Hub:
    """Add them to the application of this process, once. Returns the hub, which the role starts and drains."""
    around = around or ProcessInfo()
    http = kernel.application
    view = CommandsView(kernel.reader, kernel.outcomes, kernel.projector)
    # A hosted application at "/" has every path that the App does not declare.
    place = OWN_PAGES if http.hosts_everything else ""
    states = kernel.services.resolve(HttpWrites).states = f"{place}/commands/"

    @http.get(states + "{id}", name="command_status", rights="read")
    async def command_status(id: str) -> Any:
        """What became of a command."""
        return await view(id)

    described = asyncapi.document(kernel.declaration)

    @http.get(f"{OWN_PAGES}/asyncapi.json", name="asyncapi", rights="read", documented=False)
    def asyncapi_json() -> Response:
        """The stream of events and the commands, as AsyncAPI describes them."""
        return Response.json(described)

    hub = Hub(
        kernel.settings.of(HubSettings), announcer=TransportAnnouncer(kernel.transport), name=kernel.name
    )
    register_hub_metrics(kernel.registry, hub)
    checks = reading_checks(kernel, around.reasons)
    for name, check in around.checks.items():
        checks.add(name, check)
    for prefix in {OWN_PAGES, place}:
        checks.install(http, f"{prefix}/health")
        _declare_metrics(kernel, around, f"{prefix}/metrics")
    declare_events(kernel, hub)
    return hub


def declare_login(kernel: Kernel, tokens: Tokens) -> None:
    """The login form, where there are tokens, and its sessions."""
    attempts = Attempts()
    register_login_metrics(kernel.registry, attempts)
    heed(kernel.services.resolve(RevokedSessions), tokens, kernel.application)
    place = OWN_PAGES if kernel.application.hosts_everything else ""
    install_login(
        kernel.application, tokens, f"{place}/login", attempts=attempts, revoke=revoking(kernel.commands)
    )


def own_metrics(kernel: Kernel, around: ProcessInfo) -> list[Metric]:
    """The numbers of this process."""
    return [*kernel.registry.collect(), *around.collect()]


def _declare_metrics(kernel: Kernel, around: ProcessInfo, path: str) -> None:
    install_metrics(
        kernel.application, lambda: own_metrics(kernel, around), path, everybody=around.all_metrics
    )


def declare_events(kernel: Kernel, hub: Hub) -> None:
    """The stream of events, where the application declares one."""
    live, http = kernel.declaration.live, kernel.application
    if live is None:
        return
    channel = hub.channel(live.path, kernel.feed, _snapshot(kernel, live.snapshot))
    origins = [origin.strip() for origin in kernel.settings.origins.split(",") if origin.strip()]
    events = Events(channel, hub, origins=origins)
    http.websocket(live.path, name="events", rights="read")(events.websocket)
    http.get(live.path, name="event_stream", rights="read")(events.stream)


def _snapshot(kernel: Kernel, function: Any) -> Snapshot | None:
    """The application's snapshot function with its services filled in: prefix -> (position, payloads)."""
    if function is None:
        return None
    called = f"app.live(snapshot={named(function)})"
    resolve = kernel.services.resolve
    plan = Plan(function, called, ("prefix",), (by_name({"prefix"}),), resolve, otherwise="the prefix")
    rows_of = kernel.visibility.guarded(plan.compile(), plan.services)

    def snapshot(prefix: str) -> tuple[Position, Iterable[bytes]]:
        position = kernel.projector.position
        return position, _payloads(rows_of(prefix), kernel.projector.epoch_of)

    return snapshot


def _payloads(rows: Iterable[Mapping[str, Any]], epoch_of: Callable[[int], str]) -> Iterator[bytes]:
    for row in rows:
        fields = dict(row)
        offset = fields.pop("offset", None)
        if offset is not None:
            fields["position"] = f"{epoch_of(offset)}:{offset}"
        yield _encode({"type": "domain_event", **fields})


class CommandStatus(msgspec.Struct, frozen=True, omit_defaults=False):
    """What became of a command. `position`: the journal's with its effect; `reason`: why not."""

    id: str
    status: str
    position: str | None = None
    reason: str | None = None


class CommandsView:
    """`GET /commands/{id}` on any server. Answers from the database; a command that is only known to be on its way is
    `pending`."""

    def __init__(self, reader: JournalReader, outcomes: Outcomes, projector: Projector) -> None:
        self._reader, self._outcomes, self._projector = reader, outcomes, projector

    async def __call__(self, id: str) -> Response:
        """The state of one command. Raises Problem 404 for an unknown one."""
        command_id = id.replace("-", "").lower()
        if len(command_id) != 32 or not _HEX.issuperset(command_id):
            raise Problem(404, "no such command")
        outcome = await self._reader.outcome(command_id)
        if outcome is not None:
            receipt = receipt_of(outcome, self._projector.position.epoch)
            reason = (
                "set aside for the operators" if receipt.status is Status.FAILED else receipt.reason or None
            )
            position = str(receipt.position) if receipt.applied else None
            return Response.json(CommandStatus(command_id, receipt.status, position, reason))
        if self._outcomes.is_pending(command_id):
            return Response.json(CommandStatus(command_id, Status.PENDING))
        raise Problem(404, "no such command")
