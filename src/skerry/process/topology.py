"""Which processes `skerry up` starts for an application, and what each is given. Pure but for the interpreter's path.

One balancer, servers, gateways, hosts, consumers. They end in that order: first nothing new is accepted, then what was
accepted is answered, and what decides writes ends last.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from skerry.process.child import Spec
from skerry.process.title import ROOM

JOIN = "SKERRY_JOIN_FD"
LISTEN = "SKERRY_LISTEN_FD"
GATEWAY_LISTEN = "SKERRY_GATEWAY_LISTEN_FD"
DOOR = "SKERRY_DOOR_FD"

BALANCER_HANG_SECONDS = 2.0
"""A balancer whose loop does not run for so long is replaced: while it stands still no new connection is served, and
those that stand do not need it."""


@dataclass(frozen=True, slots=True)
class Topology:
    """How many of what. `environment`: for every child (settings that were given as flags)."""

    target: str
    servers: int = 3
    consumers: int = 1
    gateways: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    hosts: int = 0
    """Processes of hosted applications. Without servers those of `skerry host`, whose target is no App."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """The descriptors that outlive every child. `door`, `join`: the ends of the door where servers join the balancer,
    its own and theirs."""

    public: int
    door: int
    join: int
    gateway: int | None = None


def stages(topology: Topology, sockets: Sockets) -> list[list[Spec]]:
    """The children in the order in which they end."""
    listening = {LISTEN: sockets.public, DOOR: sockets.door}
    if sockets.gateway is not None:
        listening[GATEWAY_LISTEN] = sockets.gateway
    balancer = Spec(
        "balancer",
        "balancer",
        command("balancer", topology.target),
        topology.environment,
        listening,
        BALANCER_HANG_SECONDS,
    )
    servers = several(topology, sockets, "server", topology.servers)
    gateways = several(topology, sockets, "gateway", topology.gateways)
    hosts = several(topology, sockets, "host", topology.hosts)
    consumers = several(topology, sockets, "consumer", topology.consumers)
    return [stage for stage in ([balancer], [*servers, *gateways, *hosts], consumers) if stage]


def fork_server(topology: Topology) -> Spec:
    """What imports the application for all of them."""
    return Spec(
        "forkserver",
        "forkserver",
        [*command("forkserver", topology.target), ROOM],
        topology.environment,
    )


def several(topology: Topology, sockets: Sockets, role: str, count: int) -> list[Spec]:
    """So many of a role."""
    inherited = {} if role == "consumer" else {JOIN: sockets.join}
    what = command(role, topology.target)
    if role == "host" and topology.servers:
        what = [*command("run", topology.target), "--role", "hosted"]
    return [
        Spec(f"{role}-{number}", role, what, topology.environment, inherited)
        for number in range(1, count + 1)
    ]


def command(role: str, target: str) -> Sequence[str]:
    """The same interpreter, with the same import path as this process."""
    return [sys.executable, "-m", "skerry", role, target]
