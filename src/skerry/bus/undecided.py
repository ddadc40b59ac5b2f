"""Since when commands wait with nobody deciding them: what readiness for writes rests on.

Pure: it is told what was sent, what was decided and what time it is. A command that is overtaken (one sent after it was
decided) says nothing about whether anybody decides, and is forgotten here; so is one that has waited for very long,
because a command that was lost by a foreign hand must not keep writes away for ever. Not here: who waits for an outcome
(outcomes.py), looking one up in the database (the kernel does, before it believes what is told here).
"""

from __future__ import annotations

EVIDENCE_SECONDS = 600.0
"""How long a durable command that nobody decides is believed."""
UNSURE_SECONDS = 30.0
"""The same for one that may never have reached its queue: it is not to be decided for certain."""


class Undecided:
    """Commands that were sent and not decided, as far as this process has heard; beyond `remembered` the older ones
    speak for the others. Times are of one monotonic clock."""

    def __init__(self, remembered: int = 10_000) -> None:
        self._remembered = remembered
        self._sent: dict[str, tuple[float, bool]] = {}  # when, and whether it is durable
        self._overtaken = float("-inf")
        self._heard = float("-inf")

    def __len__(self) -> int:
        return len(self._sent)

    def sent(self, command_id: str, at: float, *, durable: bool) -> None:
        """A command is on its way since `at`."""
        if command_id in self._sent:
            if durable:
                self.durable(command_id)
        elif len(self._sent) < self._remembered:
            self._sent[command_id] = (at, durable)

    def durable(self, command_id: str) -> None:
        """It is in its queue for certain."""
        known = self._sent.get(command_id)
        if known is not None:
            self._sent[command_id] = (known[0], True)

    def decided(self, command_id: str) -> None:
        """Somebody decided this one, whenever that was: those sent before it say nothing any more."""
        known = self._sent.pop(command_id, None)
        if known is not None and known[0] > self._overtaken:
            self._overtaken = known[0]

    def refused(self, command_id: str) -> None:
        """This one was certainly not sent."""
        self._sent.pop(command_id, None)

    def heard(self, at: float) -> None:
        """Something was decided just now: somebody decides."""
        self._heard = at

    def oldest(self, now: float) -> tuple[str, float] | None:
        """The command that speaks for the others, and since when it has waited with nobody deciding; None when all is
        well."""
        for command_id, (at, durable) in list(self._sent.items()):
            if at < self._overtaken or now - at > (EVIDENCE_SECONDS if durable else UNSURE_SECONDS):
                del self._sent[command_id]
            else:
                return command_id, max(at, self._heard)
        return None
