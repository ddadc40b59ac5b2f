"""Services are found by type, made once, and what cannot be found or made is said at start."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Protocol

import pytest

from skerry.clock import Clock, SystemClock
from skerry.errors import DeclarationError
from skerry.kernel.services import Services


class Store:
    pass


class FileStore(Store):
    pass


@dataclass
class Mailer:
    store: Store
    sender: str = "nobody"


class Box(Protocol):
    def post(self) -> None: ...


@pytest.fixture
def services() -> Services:
    return Services()


def test_an_object_is_found_by_its_class(services: Services) -> None:
    """The very object, under its class or under the one it was offered as."""
    store, clock = Store(), SystemClock()
    services.add(store)
    services.add(clock, Clock)
    assert services.resolve(Store) is store
    assert services.resolve(Clock) is clock  # type: ignore[type-abstract]


def test_an_only_subclass_stands_for_its_base(services: Services) -> None:
    """A view may ask for the abstract thing; two candidates are an error that names them."""

    class Other(Store):
        pass

    services.add(FileStore())
    assert isinstance(services.resolve(Store), FileStore)
    services.add(Other())
    with pytest.raises(LookupError, match="FileStore, Other"):
        services.resolve(Store)


def test_a_class_offered_itself_wins_over_subclasses(services: Services) -> None:
    """An exact match is no ambiguity."""
    store = Store()
    services.add(FileStore())
    services.add(store)
    assert services.resolve(Store) is store


@pytest.mark.parametrize("kind", [Store, Box, int, list[int], abc.ABC])
def test_what_is_not_there_is_a_lookup_error(services: Services, kind: type) -> None:
    """Never another error: whoever asks adds where it was asked for."""
    services.add(SystemClock(), Clock)
    with pytest.raises(LookupError):
        services.resolve(kind)


def test_a_protocol_is_found_when_it_was_offered(services: Services) -> None:
    """Protocols without run-time checks are names like any other."""

    class Post:
        def post(self) -> None: ...

    box = Post()
    services.add(box, Box)
    services.add(Store())
    assert services.resolve(Box) is box  # type: ignore[type-abstract]
    with pytest.raises(LookupError):
        services.resolve(Mailer)


def test_a_factory_runs_once_on_first_need(services: Services) -> None:
    """Its parameters are services in turn, its defaults stay; everybody gets the same object."""
    made: list[Mailer] = []

    def make(store: Store) -> Mailer:
        made.append(Mailer(store, "me"))
        return made[-1]

    services.add_factory(Mailer, make)
    services.add_factory(Store, FileStore)
    assert not made
    mailer = services.resolve(Mailer)
    assert services.resolve(Mailer) is mailer
    assert made == [mailer]
    assert mailer.store is services.resolve(Store)


def test_a_class_is_its_own_factory(services: Services) -> None:
    """Also a dataclass: what has a default is left alone."""
    services.add_factory(Mailer, Mailer)
    services.add_factory(Store, Store)
    assert services.resolve(Mailer).sender == "nobody"


def test_a_circle_is_found(services: Services) -> None:
    """Two services that need each other: an error that shows the way round, not a recursion."""

    class A:
        pass

    class B:
        pass

    def make_a(b: B) -> A:
        return A()

    def make_b(a: A) -> B:
        return B()

    # The classes are local: what `get_type_hints` cannot see is given by hand.
    make_a.__annotations__, make_b.__annotations__ = {"b": B, "return": A}, {"a": A, "return": B}
    services.add_factory(A, make_a)
    services.add_factory(B, make_b)
    with pytest.raises(DeclarationError, match="A -> B -> A"):
        services.resolve(A)
    with pytest.raises(DeclarationError, match="B -> A -> B"):
        services.resolve(B)


def test_a_factory_with_a_nameless_need_is_an_error(services: Services) -> None:
    """A parameter without annotation or default cannot be filled: said before anything is called."""

    def make(store) -> Mailer:  # type: ignore[no-untyped-def]
        raise AssertionError("must not be called")

    services.add_factory(Mailer, make)
    with pytest.raises(DeclarationError, match=r"make.*store"):
        services.resolve(Mailer)


def test_a_factory_is_never_a_coroutine(services: Services) -> None:
    """What is awaited belongs into a role or a lifespan: a coroutine injected as a service would be a surprise."""

    async def make() -> Store:
        return Store()

    with pytest.raises(DeclarationError, match=r"make.*async"):
        services.add_factory(Store, make)


def test_what_a_factory_raises_is_told(services: Services) -> None:
    """As the cause. The next one who asks gets another try: nothing half made is kept."""
    tries: list[int] = []

    def make() -> Store:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("not yet")
        return Store()

    services.add_factory(Store, make)
    with pytest.raises(DeclarationError, match=r"make failed to make it: RuntimeError: not yet"):
        services.resolve(Store)
    assert isinstance(services.resolve(Store), Store)


def test_a_promise_makes_nothing(services: Services) -> None:
    """It says what `resolve` would say, down to what factories need, and runs none of them."""
    made: list[str] = []

    def store() -> Store:
        made.append("store")
        return Store()

    services.add_factory(Mailer, Mailer)
    with pytest.raises(DeclarationError, match="nothing fills parameter store: there is no service Store"):
        services.promise(Mailer)
    services.add_factory(Store, store)
    services.promise(Mailer)
    assert made == []
    services.add_factory(Store, lambda mailer: Store())
    with pytest.raises(DeclarationError, match="parameter mailer needs a type"):
        services.promise(Mailer)

    def circular(mailer: Mailer) -> Store:
        return mailer.store

    services.add_factory(Store, circular)
    with pytest.raises(DeclarationError, match="in a circle: Mailer -> Store -> Mailer"):
        services.promise(Mailer)
