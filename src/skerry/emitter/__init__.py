"""Named events inside one process: one part emits what happened, others have registered listeners.

    server = EventEmitter()
    handle = server.on("connection", greet)      # or @server.on("connection")
    server.emit("connection", peer)              # greet(peer)
    handle.cancel()

Every component has or is an emitter of its own; there is no central one. A name is any hashable. A class may
be name and payload at once: `emitter.on(Opened, f)`, then `emitter.emit(Opened(peer))` calls `f(Opened(peer))`
(the exact class; strings, numbers, bytes, tuples and enum members are only ever names).

What is promised:
* own listeners are called in the order of registration, then the emitters that events are forwarded to;
* a listener that is removed is not called any more, in the running emission too; one that is added meanwhile
  starts with the next emission;
* `once` and `times` count exactly, also when a listener emits the same event again;
* a listener that fails does not keep others from being called: all errors are raised together at the end as
  an `ExceptionGroup`, or go to `on_error(error, event)` one by one where it is set. `CancelledError`,
  `KeyboardInterrupt` and `SystemExit` pass at once.

`AsyncEventEmitter(schedule)` delivers each call as its own entry of a loop (`schedule` is `Loop.on_tick`), and
`await emit_async(...)` awaits coroutine listeners. Counting and cancelling mean the same in both.

* an emission that was counted but not delivered (`emit_async` was cancelled, the loop's queue was erased) is given
  back: the next one takes its place.

More than `leak_warning` listeners of one event (1,000) are logged once.

Not here: no tasks, no delivery to other processes (see `skerry.bus`). An emitter belongs to the thread of its loop;
from another one go through `Loop.post`. (Emitted there all the same, listeners are called in that thread; `wait_for`
and `stream` wake up in theirs.)
"""

from skerry.emitter.async_emitter import AsyncEventEmitter
from skerry.emitter.emitter import EventEmitter, Mode
from skerry.emitter.listeners import Listener, Name, Subscription
from skerry.emitter.stream import Arguments, EventStream, Overflow

__all__ = [
    "Arguments",
    "AsyncEventEmitter",
    "EventEmitter",
    "EventStream",
    "Listener",
    "Mode",
    "Name",
    "Overflow",
    "Subscription",
]
