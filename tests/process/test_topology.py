"""Which processes `skerry up` starts."""

from __future__ import annotations

import sys

from skerry.process.topology import DOOR, GATEWAY_LISTEN, JOIN, LISTEN, Sockets, Topology, stages


def test_the_order_of_the_end_is_that_of_a_request() -> None:
    """First the balancer, then servers and gateways, then consumers; each has what it needs and not more."""
    topology = Topology("x:app", 2, 1, 1, {"SKERRY_WAIT": "3"})
    found = stages(topology, Sockets(5, 6, 8, 7))
    assert [[spec.name for spec in stage] for stage in found] == [
        ["balancer"], ["server-1", "server-2", "gateway-1"], ["consumer-1"],
    ]  # fmt: skip
    [balancer], [server, *_], [consumer] = found
    assert balancer.pass_descriptors == {LISTEN: 5, DOOR: 6, GATEWAY_LISTEN: 7}
    assert server.pass_descriptors == {JOIN: 8}
    assert consumer.pass_descriptors == {}
    assert server.environment == consumer.environment == {"SKERRY_WAIT": "3"}
    assert list(server.command) == [sys.executable, "-m", "skerry", "server", "x:app"]


def test_no_consumers_is_possible() -> None:
    """They may run elsewhere, on a shared journal."""
    found = stages(Topology("x:app", 1, 0), Sockets(5, 6, 8))
    assert [[spec.name for spec in stage] for stage in found] == [["balancer"], ["server-1"]]
