"""`send` and `ask` from threads, from coroutines of the App's loop and from other loops."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy
from bridgeshop import PaidOrders, Refund, Refunded, SlowOrders, shop  # type: ignore[import-not-found]
from sqlalchemy.orm import Session

from skerry import Receipt
from skerry.bridge.site import needed
from skerry.errors import DeclarationError, InvalidMessage, LifecycleError, OutcomeUnknown
from skerry.hosting import ask, ask_async, send
from skerry.journal.journal import Status
from skerry.testing.app import running


async def test_from_a_thread() -> None:
    """It returns the receipt, with the handler's result; a rule's no is an answer, the same id is decided once."""

    def work() -> None:
        receipt = send(Refund(7), wait=20)
        assert isinstance(receipt, Receipt)
        assert (receipt.status, receipt.value) == (Status.APPLIED, 14)
        assert send(Refund(-1)).status is Status.REJECTED
        first, again = send(Refund(8), id="a" * 32), send(Refund(8), id="a" * 32)
        assert first.position == again.position
        with pytest.raises(InvalidMessage):
            send(Refund("x"))
        assert ask(PaidOrders()) == []
        assert ask(SlowOrders()) == 0

    async with running(shop()) as world:
        await asyncio.to_thread(work)
        assert [record.name for record in await world.events()] == ["refunded", "refunded"]


async def test_from_a_coroutine() -> None:
    """The same names are awaited; until then the receipt is pending."""
    async with running(shop()):
        sent = send(Refund(7))
        assert sent.status is Status.PENDING
        receipt = await sent
        assert receipt.value == 14
        assert receipt.id == sent.id
        assert ask(PaidOrders()) == []
        assert await ask_async(SlowOrders()) == 0
        with pytest.raises(DeclarationError, match="asynchronous"):
            ask(SlowOrders())


async def test_from_another_loop() -> None:
    """As asynchronous views in a loop of their own: their loop goes on meanwhile."""

    async def elsewhere() -> int:
        receipt = await send(Refund(4))
        refunded: int = receipt.value
        slow: int = await ask_async(SlowOrders())
        return refunded + slow + len(ask(PaidOrders()))

    async with running(shop()):
        assert await asyncio.to_thread(asyncio.run, elsewhere()) == 8


async def test_where_no_app_runs() -> None:
    """It is said, with what to do."""
    with pytest.raises(LifecycleError, match="skerry up"):
        send(Refund(1))


async def test_a_pool_that_is_full_of_senders_ends() -> None:
    """More senders than threads, all waiting for the loop: the loop waits for none of them, so every one returns."""
    async with running(shop()) as world:
        with ThreadPoolExecutor(2) as pool:
            loop = asyncio.get_running_loop()
            sent = [loop.run_in_executor(pool, send, Refund(number)) for number in range(40)]
            receipts = await asyncio.gather(*sent)
        assert all(receipt.applied for receipt in receipts)
        assert len(await world.events()) == 40


async def test_a_loop_that_does_not_turn_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is told that nobody knows, after its time and a little more."""
    monkeypatch.setattr("skerry.bridge.sending.SPARE_SECONDS", 0.05)
    async with running(shop()):
        told = threading.Event()

        def work() -> None:
            try:
                with pytest.raises(OutcomeUnknown):
                    send(Refund(1), wait=0.0)
            finally:
                told.set()

        working = asyncio.create_task(asyncio.to_thread(work))
        while not working.done() and not told.is_set():
            await asyncio.sleep(0)  # let the thread begin
            told.wait(10)  # and stand still meanwhile
        await working


async def test_after_the_commit() -> None:
    """Sent when the session's transaction is committed, not when it, or a savepoint around it, is rolled back."""
    engine = sqlalchemy.create_engine("sqlite://")
    heard: list[int] = []

    def work() -> None:
        with Session(engine) as session:
            with session.begin():
                sent = send(Refund(1), after_commit=True, session=session)
                assert sent.status is Status.PENDING
                nested = session.begin_nested()
                send(Refund(2), after_commit=True, session=session)
                nested.rollback()
                with session.begin_nested():
                    send(Refund(3), after_commit=True, session=session)
            with session.begin():
                send(Refund(4), after_commit=True, session=session)
                session.rollback()
            with session.begin():
                pass
            with pytest.raises(LifecycleError, match="outside of a transaction"):
                send(Refund(5), after_commit=True, session=session)

    app = shop()
    done = asyncio.Event()

    @app.on(Refunded)  # type: ignore[untyped-decorator]
    def refunded(event: Refunded) -> None:
        heard.append(event.number)
        if event.number == 9:
            done.set()

    async with running(app):
        await asyncio.to_thread(work)
        await send(Refund(9))
        async with asyncio.timeout(30):
            await done.wait()
        assert heard == [1, 3, 9]
    engine.dispose()


def test_an_app_whose_loop_has_ended_is_no_app() -> None:
    """A stop that failed leaves nothing in the way of what this process does afterwards."""

    async def broken_off() -> None:
        async with running(shop()):
            here = needed("ask")
        here.install()

    asyncio.run(broken_off())
    with pytest.raises(LifecycleError, match="no App"):
        ask(PaidOrders())
