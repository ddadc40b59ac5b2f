"""Skerry: event-driven, non-blocking services that stay in memory.

They answer from memory, write through a queue, and stay fresh by events. This is the face: what an application
imports. Names are loaded when they are first used, so that a tool that needs one room does not load everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from starlette.websockets import WebSocket as WebSocket

    from skerry.app import App as App
    from skerry.bus.bus import CommandBus as CommandBus
    from skerry.bus.bus import EventBus as EventBus
    from skerry.bus.bus import QueryBus as QueryBus
    from skerry.bus.outcomes import Level as Level
    from skerry.bus.outcomes import Receipt as Receipt
    from skerry.bus.pipeline import Proceed as Proceed
    from skerry.emitter import EventEmitter as EventEmitter
    from skerry.errors import PreconditionFailed as PreconditionFailed
    from skerry.errors import Rejected as Rejected
    from skerry.errors import SkerryError as SkerryError
    from skerry.http.hub import Hub as Hub
    from skerry.http.problems import Problem as Problem
    from skerry.http.reply import Response as Response
    from skerry.http.request import Request as Request
    from skerry.journal.journal import JournalReader as _JournalReader
    from skerry.journal.journal import Record as Record
    from skerry.journal.keyed import KeyedProjection as KeyedProjection
    from skerry.journal.projection import Projection as Projection
    from skerry.journal.reactor import Reactor as Reactor
    from skerry.journal.table import Table as Table
    from skerry.journal.unit import Unit as Unit
    from skerry.kernel.role import Role as Role
    from skerry.kernel.router import Router as Router
    from skerry.kernel.runtime import Runtime as Runtime
    from skerry.kernel.settings import Settings as Settings
    from skerry.kernel.writes import HttpReads as HttpReads
    from skerry.kernel.writes import HttpWrites as HttpWrites
    from skerry.loop.loop import Loop as Loop
    from skerry.messages.message import Command as Command
    from skerry.messages.message import Event as Event
    from skerry.messages.message import Query as Query
    from skerry.position import Position as Position
    from skerry.supervision.policy import Restart as Restart
    from skerry.supervision.rules import SolverPlugin as _SolverPlugin
    from skerry.supervision.supervisor import Supervisor as Supervisor

    Journal = _JournalReader
    Plugin = _SolverPlugin

_HOME = {
    "App": "skerry.app:App",
    "Command": "skerry.messages.message:Command",
    "CommandBus": "skerry.bus.bus:CommandBus",
    "Event": "skerry.messages.message:Event",
    "EventBus": "skerry.bus.bus:EventBus",
    "EventEmitter": "skerry.emitter:EventEmitter",
    "HttpReads": "skerry.kernel.writes:HttpReads",
    "HttpWrites": "skerry.kernel.writes:HttpWrites",
    "Hub": "skerry.http.hub:Hub",
    "Journal": "skerry.journal.journal:JournalReader",
    "KeyedProjection": "skerry.journal.keyed:KeyedProjection",
    "Level": "skerry.bus.outcomes:Level",
    "Loop": "skerry.loop.loop:Loop",
    "Plugin": "skerry.supervision.rules:SolverPlugin",
    "Position": "skerry.position:Position",
    "PreconditionFailed": "skerry.errors:PreconditionFailed",
    "Problem": "skerry.http.problems:Problem",
    "Proceed": "skerry.bus.pipeline:Proceed",
    "Projection": "skerry.journal.projection:Projection",
    "Query": "skerry.messages.message:Query",
    "QueryBus": "skerry.bus.bus:QueryBus",
    "Reactor": "skerry.journal.reactor:Reactor",
    "Receipt": "skerry.bus.outcomes:Receipt",
    "Record": "skerry.journal.journal:Record",
    "Rejected": "skerry.errors:Rejected",
    "Request": "skerry.http.request:Request",
    "Response": "skerry.http.reply:Response",
    "Restart": "skerry.supervision.policy:Restart",
    "Role": "skerry.kernel.role:Role",
    "Router": "skerry.kernel.router:Router",
    "Runtime": "skerry.kernel.runtime:Runtime",
    "Settings": "skerry.kernel.settings:Settings",
    "SkerryError": "skerry.errors:SkerryError",
    "Supervisor": "skerry.supervision.supervisor:Supervisor",
    "Table": "skerry.journal.table:Table",
    "Unit": "skerry.journal.unit:Unit",
    "WebSocket": "starlette.websockets:WebSocket",
}

__all__ = sorted(_HOME)
__version__ = "0.1.0"
_DEPRECATED = {
    "Hub": "from skerry.http import Hub",
    "Restart": "a verdict within the supervisor that nothing takes; rules name solvers (from skerry.supervision "
    "import restart, retry), and how often is its Intensity",
}
__getattr__ = lazily(__name__, _HOME, _DEPRECATED)
