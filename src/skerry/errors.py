"""One tree of errors.

SkerryError
├── SettingsError            you configured something that cannot work (exit code 2)
├── DeclarationError         the application contradicts itself; found at start, never later
├── MessageError             bytes that are no valid message
│   ├── UnknownMessage       no type of that name is known here
│   │   └── NewerVersion     the type is known in an older version: upgrade this process
│   └── InvalidMessage       the type is known, the content does not fit it
├── Rejected                 a rule of the application said no: an answer, not a fault
│   └── PreconditionFailed   `If-Match` and friends
├── Unavailable              not now: try again after `retry_after_seconds`
│   ├── Overloaded           a bounded window is full
│   ├── Conflict             another writer was quicker: decide again, at once
│   ├── Disconnected         the broker or database is away
│   └── OutcomeUnknown       sent, but nobody can say whether it took effect
├── DeadlineExceeded         a wait ran out
├── JournalError
│   ├── Trimmed              the journal no longer reaches back to that position
│   ├── WrongEpoch           a position of another history (a restored database)
│   ├── Corrupt              what is stored contradicts itself
│   └── Fenced               the lease was lost to another writer
├── TransportError
│   └── MessageTooLarge
├── LifecycleError           that transition is not possible from here
└── EmitterError

Errors carry plain values, so that they can be logged, sent and compared. Exceptions of foreign
libraries are translated once, in `backends`, with `from`.
"""

from __future__ import annotations

from typing import Any


class SkerryError(Exception):
    """The base of all errors of Skerry. Can be copied and pickled, whatever its constructor takes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, vars(self))


def _again(kind: type[SkerryError], args: tuple[Any, ...], values: dict[str, Any]) -> SkerryError:
    made = kind.__new__(kind, *args)
    vars(made).update(values)
    return made


class SettingsError(SkerryError):
    """A setting is wrong. `setting` names it, the text says what would be right."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting, self.problem = setting, problem


class DeclarationError(SkerryError):
    """The application declares something that cannot work: two handlers for one command, say."""


class MessageError(SkerryError):
    """Bytes that are not a valid message."""


class UnknownMessage(MessageError):
    """No message type of this name is known to this application."""

    def __init__(self, name: str, version: int = 1) -> None:
        super().__init__(f"no message type {name!r} (version {version}) is known here")
        self.name, self.version = name, version


class NewerVersion(UnknownMessage):
    """The type is known, and this message was written by a newer release. Another release of this process reads it."""

    def __init__(self, name: str, version: int, known: int) -> None:
        super().__init__(name, version)
        self.args = (f"{name} version {version} is newer than the {known} known here: upgrade this process",)
        self.known = known


class InvalidMessage(MessageError):
    """The content does not fit its type. `field` and `value` are those that do not fit, for operators and
    logs (the value is cut and masked, see `skerry.messages.typed`); HTTP answers show `without_value`."""

    def __init__(self, name: str, reason: str, *, field: str = "", value: str = "") -> None:
        super().__init__(f"{name}: {reason}, the value is {value}" if value else f"{name}: {reason}")
        self.name, self.reason, self.field, self.value = name, reason, field, value

    @property
    def without_value(self) -> str:
        """The text for clients: the field that does not fit, without its value."""
        return f"{self.name}: {self.reason}"


class Rejected(SkerryError):
    """A rule of the application refuses the command. Raise it in a handler: the caller gets 409, and the
    command is not retried."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PreconditionFailed(Rejected):
    """The caller's precondition (`If-Match`, `If-None-Match`) does not hold (412)."""


class Unavailable(SkerryError):
    """The request is valid but cannot be served now. Try again after `retry_after_seconds`."""

    def __init__(self, reason: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(reason)
        self.reason, self.retry_after_seconds = reason, retry_after_seconds


class Overloaded(Unavailable):
    """A bounded window or queue is full."""


class Conflict(Unavailable):
    """Another writer changed rows that the decision was based on. Nothing was written: decide again, at
    once."""


class Disconnected(Unavailable):
    """The broker or database behind this is away; its supervisor is reconnecting."""


class DeadlineExceeded(SkerryError):
    """A wait ran out."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} took longer than {seconds:g} s")
        self.what, self.seconds = what, seconds


class JournalError(SkerryError):
    """The journal cannot do that."""


class Trimmed(JournalError):
    """The journal no longer reaches back to `offset`; it starts after `floor`. Load a snapshot."""

    def __init__(self, offset: int, floor: int) -> None:
        super().__init__(f"events after {offset} were trimmed, the journal starts after {floor}")
        self.offset, self.floor = offset, floor


class WrongEpoch(JournalError):
    """A position of another history, as after restoring a back-up. Load a snapshot."""

    def __init__(self, asked: str, actual: str) -> None:
        super().__init__(f"position of epoch {asked!r}, the journal's is {actual!r}")
        self.asked, self.actual = asked, actual


class Corrupt(JournalError):
    """The stored data is inconsistent (a gap, a missing row); `skerry journal verify` reports where."""


class TransportError(SkerryError):
    """The transport cannot do that."""


class MessageTooLarge(TransportError):
    """A command or event is larger than the transport takes."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"message of {size_bytes} bytes, the limit is {limit_bytes}")
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes


class LifecycleError(SkerryError):
    """That transition is not possible from the present state."""

    def __init__(self, wanted: str, state: str, possible: tuple[str, ...]) -> None:
        choices = ", ".join(possible) or "nothing"
        super().__init__(f"cannot {wanted} while {state}; possible now: {choices}")
        self.wanted, self.state, self.possible = wanted, state, possible


class EmitterError(SkerryError):
    """An emitter was asked for something impossible, as a forward that would form a circle."""


class Fenced(JournalError):
    """The lease was lost to another owner: this write was refused."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the lease {name!r} belongs to somebody else by now")
        self.name = name


class OutcomeUnknown(Unavailable):
    """Whether the command was or will be applied is not known. Repeat it with the same id: it takes effect once."""

    def __init__(self, command_id: str) -> None:
        super().__init__("outcome unknown, repeat with the same Idempotency-Key")
        self.command_id = command_id
