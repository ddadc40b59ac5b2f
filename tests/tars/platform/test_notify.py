"""Messages for people: kept while the notification service is slow, given up after a while."""

from __future__ import annotations

from typing import Any

from skerry.tars.call_errors import CallTimeout
from skerry.tars.platform.configuration import Configuration
from skerry.tars.platform.notify import PAUSE_SECONDS, TRIES, Notifier


class Service:
    """Stands for a communicator, its proxy and the service, which does not answer the first `late` messages."""

    def __init__(self, late: int) -> None:
        self.late, self.taken = late, list[str]()

    def proxy(self, *_: Any, **__: Any) -> Service:
        return self

    async def reportNotifyInfo(self, info: Any) -> None:  # noqa: N802 - the IDL's name
        if self.late:
            self.late -= 1
            raise CallTimeout("tars.tarsnotify.NotifyObj.reportNotifyInfo", "", "no reply")
        self.taken.append(info.sMessage)


def notifier() -> Notifier:
    made = Notifier(Configuration("Demo", "PyServer", (), notify="tars.tarsnotify.NotifyObj"))
    made.report("restart")
    made.alarm("worker-1 died")
    return made


async def test_a_message_that_was_not_taken_is_sent_again() -> None:
    """Before those behind it."""
    messages, service = notifier(), Service(late=1)
    assert await messages.send_all(service) == PAUSE_SECONDS  # type: ignore[arg-type]
    assert service.taken == []
    assert await messages.send_all(service) is None  # type: ignore[arg-type]
    assert service.taken == ["restart", "[alarm] worker-1 died"]
    assert (messages.sent, messages.dropped) == (2, 0)


async def test_it_is_given_up_after_some_tries() -> None:
    """And counted; the next one has its own."""
    messages, service = notifier(), Service(late=TRIES)
    while await messages.send_all(service) is not None:  # type: ignore[arg-type]
        assert not messages.sent
    assert service.taken == ["[alarm] worker-1 died"]
    assert (messages.sent, messages.dropped) == (1, 1)
