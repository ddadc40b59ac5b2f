"""One injector: what a parameter may be, the same for everybody, and what is said when nothing fills it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Optional

import pytest

from skerry.errors import DeclarationError
from skerry.injection import (
    EMPTY,
    Parameter,
    Plan,
    Read,
    Scoped,
    by_name,
    parameters_of,
)


class Message:
    """What a call is about."""


class Clock:
    """A service of the process."""


class Unknown:
    """A type that nobody declared."""


class Broken:
    """A service whose factory raises."""


class Session:
    """A service of one call."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.open = True


class Both:
    """Another service of one call, which needs the first."""

    def __init__(self, session: Session) -> None:
        self.session = session


CLOCK = Clock()
ended: list[Session] = []


def session(clock: Clock) -> Iterator[Session]:
    made = Session(clock)
    try:
        yield made
    finally:
        made.open = False
        ended.append(made)


async def async_session(clock: Clock) -> AsyncIterator[Session]:
    made = Session(clock)
    await asyncio.sleep(0)
    try:
        yield made
    finally:
        await asyncio.sleep(0)
        made.open = False
        ended.append(made)


def services(**more: Any) -> Callable[[Any], Any]:
    known: dict[Any, Any] = {Clock: CLOCK, Session: Scoped(session)} | more.pop("types", {})

    def resolve(kind: Any) -> Any:
        if kind is Broken:
            raise DeclarationError("mailer failed to make it: KeyError: 'SMTP_HOST'")
        if kind not in known:
            raise LookupError(kind)
        return known[kind]

    return resolve


def _message(parameter: Parameter) -> str | None:
    """The source of a call that is about a message."""
    return "message" if parameter.plain is Message else None


class Injected:
    """A composed function."""

    def __init__(self, plan: Plan) -> None:
        self.call, self.is_async = plan.compile(), plan.is_async


def injected(function: Callable[..., Any], **types: Any) -> Injected:
    plan = Plan(
        function,
        "GET /x (view)",
        ("message", "name"),
        (_message, by_name({"name"})),
        services(types=types.get("types", {})),
        otherwise="a path parameter",
    )
    return Injected(plan)


@pytest.fixture(autouse=True)
def _forget() -> None:
    ended.clear()


def test_values_services_defaults() -> None:
    """In any order: the call's own values by type or name, services by type, defaults, None where it is allowed."""

    def view(  # type: ignore[no-untyped-def]
        clock: Clock,
        name: str,
        message: Message,
        marked: Annotated[Clock, "extra"],
        maybe: Unknown | None,
        old: Optional[Unknown] = None,  # noqa: UP045
        there: Clock | None = None,
        plain=3,
        *,
        last: Unknown = Unknown(),  # noqa: B008
    ) -> tuple[Any, ...]:
        return clock, name, message, marked, maybe, old, there, plain, type(last)

    message = Message()
    got = injected(view).call(message, "n")
    assert got == (CLOCK, "n", message, CLOCK, None, None, CLOCK, 3, Unknown)


def test_what_a_source_reads() -> None:
    """A source may compute a value from one of the call's own."""

    def source(parameter: Parameter) -> Read | None:
        return Read(len, "name") if parameter.plain is int else None

    def view(size: int) -> int:
        return size

    plan = Plan(view, "x", ("name",), (source,), services())
    assert plan.compile()("abc") == 3
    assert plan.compile("if {arguments} == 'no': return wrong\nreturn {call} + 1", wrong=0)("abc") == 4


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (
            lambda x: x,
            "GET /x (view): parameter x needs a type to be injected by, and it is not a path parameter",
        ),
        (lambda *args: args, "GET /x (view): *args cannot be filled; name each parameter"),
    ],
)
def test_what_cannot_be_filled(view: Callable[..., Any], words: str) -> None:
    """The sentence names where, which parameter, and what it could have been."""
    with pytest.raises(DeclarationError) as caught:
        injected(view)
    assert str(caught.value) == words


def test_an_unknown_type_and_a_factory_that_raises() -> None:
    """Nobody declared it, or the factory failed: the cause is the message, whatever the default."""

    def unknown(x: Unknown) -> None: ...

    def broken(x: Broken | None = None) -> None: ...

    with pytest.raises(
        DeclarationError, match=r"nothing fills parameter x: there is no service Unknown, and it is"
    ):
        injected(unknown)
    with pytest.raises(
        DeclarationError, match=r"parameter x: mailer failed to make it: KeyError: 'SMTP_HOST'"
    ):
        injected(broken)


def test_annotations_that_cannot_be_resolved() -> None:
    """A name that is not there is told as such."""

    def view(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        DeclarationError, match=r"GET /x \(view\): its annotations cannot be resolved: .*Nowhere"
    ):
        injected(view)


def test_parameters_of_objects_and_classes() -> None:
    """A callable object is its `__call__`, a class its `__init__`."""

    class Handler:
        def __call__(self, message: Message) -> int:
            return 1

    found, result = parameters_of(Handler(), "x")
    assert [(one.name, one.plain, one.default) for one in found] == [("message", Message, EMPTY)]
    assert result is int
    assert [one.plain for one in parameters_of(Session, "x")[0]] == [Clock]
    assert injected(Handler()).call(Message(), "") == 1


def test_a_scoped_service_lives_for_one_call() -> None:
    """Made once for a call however often it is wanted, ended after it, also when the call raises."""

    def view(session: Session, both: Both, again: Session) -> tuple[bool, Session]:
        assert session is again is both.session
        return session.open, session

    made = injected(view, types={Both: Scoped(Both)})
    assert not made.is_async
    first, second = made.call(Message(), ""), made.call(Message(), "")
    assert (first[0], first[1].open, first[1].clock) == (True, False, CLOCK)
    assert ended == [first[1], second[1]]

    def failing(session: Session) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        injected(failing).call(Message(), "")
    assert len(ended) == 3


async def test_a_scoped_service_waits_for_a_future() -> None:
    """A lane view that returns a future keeps its services until that is done."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def view(session: Session) -> asyncio.Future[str]:
        return future

    assert injected(view).call(Message(), "") is future
    assert not ended
    future.set_result("done")
    await asyncio.sleep(0)
    assert len(ended) == 1


@pytest.mark.parametrize("factory", [session, async_session])
async def test_scoped_services_of_coroutine_functions(factory: Any) -> None:
    """Generators of both kinds; an asynchronous one makes a plain function's call awaitable."""

    async def view(session: Session) -> bool:
        await asyncio.sleep(0)
        return session.open

    def plain(session: Session) -> bool:
        return session.open

    types = {Session: Scoped(factory)}
    assert await injected(view, types=types).call(Message(), "") is True
    made = injected(plain, types=types)
    assert made.is_async is (factory is async_session)
    got = made.call(Message(), "")
    assert (await got if made.is_async else got) is True
    assert len(ended) == 2


async def test_the_end_hears_of_the_error() -> None:
    """A generator sees the exception of the call at its `yield`; it cannot make a failed call a good one."""
    seen: list[str] = []

    def curious() -> Iterator[Session]:
        try:
            yield Session(CLOCK)
        except ValueError as error:
            seen.append(str(error))

    def view(session: Session) -> None:
        raise ValueError("plain")

    async def coroutine(session: Session) -> None:
        raise ValueError("async")

    types = {Session: Scoped(curious)}
    with pytest.raises(ValueError, match="plain"):
        injected(view, types=types).call(Message(), "")
    with pytest.raises(ValueError, match="async"):
        await injected(coroutine, types=types).call(Message(), "")
    assert seen == ["plain", "async"]


def test_services_that_need_each_other() -> None:
    """A circle is told with its way round."""

    class A: ...

    class B: ...

    def make_a(b: B) -> A:
        return A()

    def make_b(a: A) -> B:
        return B()

    make_a.__annotations__ = {"b": B, "return": A}
    make_b.__annotations__ = {"a": A, "return": B}

    def view(a: A) -> None: ...

    view.__annotations__ = {"a": A}
    with pytest.raises(DeclarationError, match=r"the service A needs itself: A -> B -> A"):
        injected(view, types={A: Scoped(make_a), B: Scoped(make_b)})
