"""`emit` by every kind of connection, beside a running App on PostgreSQL; waiting for it; what it refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from bridgeshop import OrderPaid, PaidOrders, Refunded, open_shop  # type: ignore[import-not-found]
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from skerry import Record
from skerry.errors import DeclarationError, InvalidMessage, LifecycleError, Overloaded
from skerry.hosting import Emitted, ask, emit
from skerry.journal.journal import Status
from skerry.testing.app import World

pytestmark = pytest.mark.service("postgresql")
INSERT = "insert into shop_order (number) values (%s)"


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "shop_order"
    number: Mapped[int] = mapped_column(primary_key=True)


async def seen(world: World, *emitted: Emitted) -> list[int]:
    """The orders that memory has once it has these events."""
    for each in emitted:
        receipt = await each.visible(30)
        assert receipt.status is Status.APPLIED
        assert receipt.position is not None
        assert world.kernel.projector.reached(receipt.position)
    return ask(PaidOrders())


async def test_psycopg(dsn: str) -> None:
    """In a thread: committed events are seen with their rows, rolled back ones are not."""

    def work() -> list[Emitted]:
        with psycopg.connect(dsn) as connection:
            with connection.transaction():
                connection.execute(INSERT, [1])
                first = emit(OrderPaid(1), connection=connection)
            with connection.transaction(force_rollback=True):
                connection.execute(INSERT, [2])
                emit(OrderPaid(2), connection=connection)
            with connection.transaction():
                with connection.transaction(force_rollback=True):  # a savepoint
                    emit(OrderPaid(3), connection=connection)
                last = emit(OrderPaid(4), connection=connection)
        receipt = last.wait(30)
        assert receipt.applied
        assert ask(PaidOrders()) == [1, 4]  # from this thread
        return [first, last]

    async with open_shop(dsn) as world:
        emitted = await asyncio.to_thread(work)
        assert await seen(world, *emitted) == [1, 4]


async def test_psycopg_async(dsn: str) -> None:
    """`emit` is awaited, like everything else on that connection."""
    async with open_shop(dsn) as world, await psycopg.AsyncConnection.connect(dsn) as connection:
        async with connection.transaction():
            emitted = await emit(OrderPaid(1), connection=connection)
        assert await seen(world, emitted) == [1]


async def test_asyncpg(dsn: str) -> None:
    """Inside `connection.transaction()`; outside of one it is refused."""
    async with (
        open_shop(dsn) as world,
        asyncpg.create_pool(dsn, min_size=1) as pool,
        pool.acquire() as connection,
    ):
        async with connection.transaction():
            await connection.execute("insert into shop_order (number) values (1)")
            emitted = await emit(OrderPaid(1), connection=connection)
        assert await seen(world, emitted) == [1]
        with pytest.raises(LifecycleError, match="outside of a transaction"):
            await emit(OrderPaid(2), connection=connection)


async def test_sqlalchemy_session(dsn: str) -> None:
    """The session is flushed, so that its rows are written first; savepoints count."""
    engine = sqlalchemy.create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"))

    def work() -> list[Emitted]:
        with Session(engine) as session:
            session.add(Order(number=1))
            first = emit(OrderPaid(1), session=session)
            with pytest.raises(LifecycleError, match="not committed"):
                first.wait(1)
            session.commit()
            assert first.wait(30).applied
            emitted = [first]
            with session.begin():
                session.add(Order(number=2))
                nested = session.begin_nested()
                emit(OrderPaid(3), session=session)
                nested.rollback()
                emitted.append(emit(OrderPaid(2), session=session))
            with session.begin():
                emit(OrderPaid(4), session=session)
                session.rollback()
            with pytest.raises(LifecycleError, match="outside of a transaction"):
                emit(OrderPaid(5), session=session)
        with engine.begin() as connection:
            emitted.append(emit(OrderPaid(6), connection=connection))
        return emitted

    async with open_shop(dsn) as world:
        assert await seen(world, *await asyncio.to_thread(work)) == [1, 2, 6]
    engine.dispose()


async def test_sqlalchemy_async_session(dsn: str) -> None:
    """On asyncpg, whose parameters look otherwise; a connection of the engine too."""
    engine = create_async_engine(dsn.replace("postgresql:", "postgresql+asyncpg:"))
    async with open_shop(dsn) as world:
        async with AsyncSession(engine) as session, session.begin():
            session.add(Order(number=1))
            first = await emit(OrderPaid(1), session=session)
        async with engine.begin() as connection:
            second = await emit(OrderPaid(2), connection=connection)
        assert await seen(world, first, second) == [1, 2]
    await engine.dispose()


async def test_listeners_hear_it_with_who(dsn: str) -> None:
    """As they hear the event of a command, in the order of the journal; `who` is the database's user."""
    heard: list[Record] = []
    async with open_shop(dsn) as world:
        world.kernel.projector.listen(lambda records, epoch: heard.extend(records))
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            emitted = [await emit(OrderPaid(number), connection=connection) for number in range(5)]
            await connection.commit()
            await seen(world, *emitted)
        assert [record.key for record in heard] == [f"order-{number}" for number in range(5)]
        assert {record.who for record in heard} == {"postgres"}
        assert [record.offset for record in await world.events()] == [1, 2, 3, 4, 5]


async def test_what_is_refused(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that the App does not list, that do not fit, that are too long; too many; nothing that is known."""
    async with open_shop(dsn), await psycopg.AsyncConnection.connect(dsn) as connection:
        with pytest.raises(DeclarationError, match="foreign=True"):
            await emit(Refunded(1), connection=connection)
        wrong: Any = "x"
        with pytest.raises(InvalidMessage, match="number"):
            await emit(OrderPaid(wrong), connection=connection)
        with pytest.raises(InvalidMessage, match="1048576"):
            await emit(OrderPaid(1, "x" * (1 << 20)), connection=connection)
        for given in ({}, {"connection": connection, "session": connection}, {"connection": object()}):
            with pytest.raises(DeclarationError):
                await emit(OrderPaid(1), **given)

        monkeypatch.setattr("skerry.bridge.emitting.MAX_EVENTS", 200)
        monkeypatch.setattr("skerry.bridge.emitting._COUNTED", 50)

        async def many() -> None:
            for number in range(500):
                await emit(OrderPaid(number), connection=connection)

        with pytest.raises(Overloaded, match="over 200 events"):
            await many()
        await connection.rollback()


async def test_waiting_ends(dsn: str) -> None:
    """What is never committed is PENDING when the time is over; a process that follows no journal says so at once."""
    async with open_shop(dsn), await psycopg.AsyncConnection.connect(dsn) as connection:
        emitted = await emit(OrderPaid(1), connection=connection)
        assert (await emitted.visible(0.05)).status is Status.PENDING
        with pytest.raises(LifecycleError, match="in the loop"):
            emitted.wait(1)
        await connection.rollback()
    with pytest.raises(LifecycleError, match="no App"):
        ask(PaidOrders())


async def test_strict_finds_an_emit_before_the_row(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """Events of one row keep their order only when the row is written first: the place is named."""
    async with open_shop(dsn):
        from skerry.bridge.site import site

        here = site()
        assert here is not None
        here.strict = True

        def work() -> None:
            with psycopg.connect(dsn) as connection:
                connection.execute(INSERT, [1])
                emit(OrderPaid(1), connection=connection)
                connection.commit()
                assert caplog.messages == []
                emit(OrderPaid(2), connection=connection)

        await asyncio.to_thread(work)
        [message] = caplog.messages
        assert "order_paid is emitted before its transaction has written anything" in message
        assert "test_emit.py" in message
