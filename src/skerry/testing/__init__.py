"""How to prove it: a whole application on memory, virtual time, suites that every backend inherits, fakes with
real semantics, private servers, faults.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.testing.app import World as World
    from skerry.testing.app import running as running
    from skerry.testing.broker import PrivateBroker as PrivateBroker
    from skerry.testing.broker import free_ports as free_ports
    from skerry.testing.client import Answer as Answer
    from skerry.testing.client import Client as Client
    from skerry.testing.client import Stream as Stream
    from skerry.testing.clock import VirtualClock as VirtualClock
    from skerry.testing.clock import VirtualLoop as VirtualLoop
    from skerry.testing.clock import run_virtual as run_virtual
    from skerry.testing.clock import settle as settle
    from skerry.testing.durable_journals import DurableJournalSuite as DurableJournalSuite
    from skerry.testing.faults import FaultyTransport as FaultyTransport
    from skerry.testing.faults import HintFaults as HintFaults
    from skerry.testing.intakes import IntakeSuite as IntakeSuite
    from skerry.testing.intakes import SharedIntakeSuite as SharedIntakeSuite
    from skerry.testing.journals import JournalSuite as JournalSuite
    from skerry.testing.proxy import FaultProxy as FaultProxy
    from skerry.testing.services import PrivatePostgres as PrivatePostgres
    from skerry.testing.services import private_postgres as private_postgres
    from skerry.testing.shared_journals import SharedJournalSuite as SharedJournalSuite
    from skerry.testing.sql_journals import SqlJournalSuite as SqlJournalSuite
    from skerry.testing.tars.fixture import tars_platform as tars_platform
    from skerry.testing.tars.platform import TarsPlatform as TarsPlatform
    from skerry.testing.transports import TransportSuite as TransportSuite
    from skerry.testing.wired_transports import WireTransportSuite as WireTransportSuite
    from skerry.testing.wsgi import WsgiSuite as WsgiSuite

_HOME = {
    "Answer": "skerry.testing.client",
    "Client": "skerry.testing.client",
    "DurableJournalSuite": "skerry.testing.durable_journals",
    "FaultProxy": "skerry.testing.proxy",
    "FaultyTransport": "skerry.testing.faults",
    "HintFaults": "skerry.testing.faults",
    "IntakeSuite": "skerry.testing.intakes",
    "JournalSuite": "skerry.testing.journals",
    "PrivateBroker": "skerry.testing.broker",
    "PrivatePostgres": "skerry.testing.services",
    "SharedIntakeSuite": "skerry.testing.intakes",
    "SharedJournalSuite": "skerry.testing.shared_journals",
    "SqlJournalSuite": "skerry.testing.sql_journals",
    "Stream": "skerry.testing.client",
    "TarsPlatform": "skerry.testing.tars.platform",
    "TransportSuite": "skerry.testing.transports",
    "VirtualClock": "skerry.testing.clock",
    "VirtualLoop": "skerry.testing.clock",
    "WireTransportSuite": "skerry.testing.wired_transports",
    "WsgiSuite": "skerry.testing.wsgi",
    "World": "skerry.testing.app",
    "free_ports": "skerry.testing.broker",
    "private_postgres": "skerry.testing.services",
    "run_virtual": "skerry.testing.clock",
    "running": "skerry.testing.app",
    "settle": "skerry.testing.clock",
    "tars_platform": "skerry.testing.tars.fixture",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
