"""A rehearsal of a process, before it waits for anything: is all that was declared complete, can it be composed?

A successor that is to take over from a process that works must not find its mistakes afterwards. Every process
rehearses everything, also what only others do, so that the first one that is replaced finds the mistakes of all.
Services are made only where this process makes them anyway; of the others it is looked whether they could be.
Not here: the application's tables (`skerry.journal.migration.rehearse`).
"""

from __future__ import annotations

from skerry.bus.bus import QueryBus
from skerry.bus.decider import Decider
from skerry.bus.handlers import Handler, bind, event_arguments
from skerry.kernel.kernel import Kernel, render_plan
from skerry.kernel.supervised import rehearse_parts


def rehearse(kernel: Kernel, *, decides: bool) -> None:
    """Compose what `kernel` was declared to do, and throw it away. `decides`: whether this process decides commands.
    Raises DeclarationError, and what a service's factory raises."""
    declared, promise = kernel.declaration, kernel.services.promise
    if decides:
        kernel.decider()
    else:
        Decider(declared.handlers.commands, declared.middlewares, kernel.serializer, promise, declared.tables)
    for reactor in declared.reactors:
        handler = Handler(reactor.events[0], reactor.react)
        resolve = kernel.services.resolve if decides else promise
        bind(handler, resolve, event_arguments(handler.message))
    for kind, listeners in declared.handlers.events.items():
        for listener in listeners:
            bind(listener, promise, event_arguments(kind))
    for event, render in declared.renderers.items():
        render_plan(event, render, promise)
    QueryBus(declared.handlers.queries).compile(promise)
    declared.http.check(promise)
    rehearse_parts(declared.supervised, promise)
