"""Calls over real sockets: results, failures with their codes, time-outs, cancellation, deadlines, retries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from skerry.tars.call import Call, ClientConnection, current, serving
from skerry.tars.call_errors import (
    BadReply,
    CallTimeout,
    ConnectFailed,
    ConnectionLost,
    NoEndpoint,
    NoSuchFunction,
    NoSuchServant,
    NotSent,
    RemoteError,
    ServantFailed,
    ServerCannotEncode,
)
from skerry.tars.communicator import Communicator
from skerry.tars.endpoint import Endpoint
from skerry.tars.errors import EncodeError, TarsError
from skerry.tars.faults import CLASSIC, CPP, FaultPolicy
from skerry.tars.limits import AdapterLimits
from skerry.tars.locator import Located, StaticLocator
from skerry.tars.proxy import client_of, configure, ping, reply_of
from skerry.tars.server import Server
from skerry.tars.settings import CallOptions, ClientSettings, Retry
from skerry.tars.wire.packet import (
    STATUS_DYED_KEY,
    MessageType,
    RequestPacket,
    ResponsePacket,
    decode_request,
    encode_answer,
    encode_reconnect,
    encode_response,
)

NAME = "Test.Probe.ProbeObj"
Answer = Callable[[RequestPacket, asyncio.StreamWriter], Awaitable[None]]


async def fake_server(answer: Answer) -> tuple[asyncio.Server, str]:
    """A server that does what a test wants with each request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readexactly(4):
                packet = await reader.readexactly(int.from_bytes(head, "big") - 4)
                await answer(decode_request(packet), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"{NAME}@tcp -h 127.0.0.1 -p {server.sockets[0].getsockname()[1]} -t 60000"


def free_port_address(count: int = 1) -> str:
    """An address where nobody listens."""
    import socket

    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
    return f"{NAME}@tcp -h 127.0.0.1 -p {port}"


async def test_results(serve: Any, probe: Any) -> None:
    """A value; a named tuple with `ret` first for out parameters; a struct; None for void."""
    _, servant, address = await serve()
    async with Communicator() as c:
        proxy = c.proxy(probe, address)
        assert await proxy.echo("héllo") == "héllo"
        result = await proxy.divide(7, b=2)
        assert (result.ret, result.rest) == (3, 1)
        assert result == (3, 1)
        item = type(await proxy.named(_item(probe, 4, "four")))
        assert item.__name__ == "Item"
        assert (await proxy.named(_item(probe, 4, "four"))).id == 5
        assert await proxy.nothing() is None
        assert await proxy.lane(21) == 42
        await ping(proxy)
    assert servant.calls == ["héllo", "nothing"]


def _item(probe: Any, number: int, name: str) -> Any:
    kind = probe.__tars_interface__.functions["named"].inputs[0].type.cls
    return kind(id=number, name=name)


async def test_many_calls_share_one_connection(serve: Any, probe: Any) -> None:
    """A thousand calls at once travel on one connection, each gets its own reply."""
    server, _, address = await serve()
    async with Communicator() as c:
        proxy = c.proxy(probe, address)
        got = await asyncio.gather(*(proxy.echo(str(number)) for number in range(1000)))
        assert got == [str(number) for number in range(1000)]
        assert server.states()[0].counters.connections == 1


async def test_several_connections_when_asked(serve: Any, probe: Any) -> None:
    """`connections=3` opens three and uses them in turn."""
    server, _, address = await serve()
    async with Communicator(settings=ClientSettings(connections=3)) as c:
        proxy = c.proxy(probe, address)
        await asyncio.gather(*(proxy.echo("x") for _ in range(30)))
        assert server.states()[0].counters.connections == 3


async def test_codes_become_exceptions(serve: Any, probe: Any) -> None:
    """Each return code has a class; the servant's own code is a RemoteError with code and text; all are TarsErrors."""
    _, _, address = await serve()
    async with Communicator() as c:
        proxy = c.proxy(probe, address)
        with pytest.raises(RemoteError, match="five") as five:
            await proxy.refuse(5, "five")
        assert (five.value.code, five.value.description) == (5, "five")
        assert five.value.function == f"{NAME}.refuse"
        with pytest.raises(ServantFailed):
            await proxy.divide(1, 0)
        other = c.proxy(probe, address.replace("ProbeObj", "OtherObj"))
        with pytest.raises(NoSuchServant):
            await other.echo("x")
        with pytest.raises(NoSuchFunction):
            await client_of(proxy).call("nosuch", b"", CallOptions())
        assert issubclass(RemoteError, TarsError)


async def test_time_out(serve: Any, probe: Any, until: Any) -> None:
    """CallTimeout after the time-out; the connection goes on, the late reply is dropped and counted."""
    server, servant, address = await serve()
    async with Communicator() as c:
        proxy = c.proxy(probe, address)
        with pytest.raises(CallTimeout) as late:
            await configure(proxy, timeout_seconds=0.5).gate("g")
        assert late.value.code == -7
        servant.gates["g"].set()
        assert await proxy.echo("on") == "on"
        assert server.states()[0].counters.connections == 1
        await until(lambda: client_of(proxy).counters.unknown_replies == 1)


async def test_cancellation_leaves_nothing_behind(serve: Any, probe: Any) -> None:
    """A cancelled call is forgotten at once; others on the connection are not touched."""
    _, servant, address = await serve()
    async with Communicator() as c:
        proxy = c.proxy(probe, address)
        call = asyncio.create_task(proxy.gate("g"))
        await servant.entered["g"].wait()
        other = asyncio.create_task(proxy.gate("h"))
        await servant.entered["h"].wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        channel = client_of(proxy).routes.links[0].ready()
        assert channel is not None
        assert len(channel.pending) == 1
        servant.gates["h"].set()
        assert await other == "h"


async def test_one_way(serve: Any, probe: Any) -> None:
    """Returns None at once; an exception in the servant does not come back; nothing waits for a reply."""
    _, servant, address = await serve()
    async with Communicator() as c:
        proxy = c.proxy(probe, address)
        silent = configure(proxy, one_way=True)
        assert await silent.divide(1, 0) is None
        assert await silent.nothing() is None
        await proxy.echo("after")
        assert servant.calls == ["nothing", "after"]


async def test_context_and_status_travel_both_ways(serve: Any, probe: Any) -> None:
    """What the options say is what the servant sees; its reply context comes with `reply_of`."""
    _, _, address = await serve()
    async with Communicator(context={"trace": "abc"}) as c:
        proxy = configure(c.proxy(probe, address), status={"cookie": "1"})
        seen = await proxy.about()
        assert (seen["context.trace"], seen["status.cookie"]) == ("abc", "1")
        reply = await reply_of(proxy, "about")
        assert reply.context == {"answered": "by probe"}
        assert reply.value["function"] == "about"
        assert reply.endpoint in address


async def test_the_server_knows_how_long_the_caller_waits(serve: Any, probe: Any) -> None:
    """iTimeout carries the time-out: the handler sees what remains."""
    _, _, address = await serve()
    async with Communicator(timeout_seconds=120.0) as c:
        seen = await c.proxy(probe, address).about()
    assert 60.0 <= float(seen["remaining"]) <= 120.0


async def test_a_call_within_a_call_gets_no_more_time(serve: Any, probe: Any) -> None:
    """Calls made while serving one: the deadline of the outer call shortens them, cookies and dyeing go along."""
    _, _, address = await serve()
    async with Communicator(timeout_seconds=600.0) as c:
        proxy = c.proxy(probe, address)
        outer = RequestPacket(
            timeout_ms=120_000,
            message_type=int(MessageType.DYED),
            status={"user": "7", STATUS_DYED_KEY: "d", "STATUS_OTHER": "no"},
        )
        token = serving.set(Call(outer, ("h", 1), asyncio.get_running_loop().time()))
        try:
            call = current()
            call.deadline = None if call.deadline is None else _monotonic() + 120.0
            seen = await proxy.about()
            call.deadline = _monotonic() - 1
            with pytest.raises(CallTimeout, match="no time left"):
                await proxy.echo("too late")
        finally:
            serving.reset(token)
        assert 60.0 <= float(seen["remaining"]) <= 120.0
        assert {key: value for key, value in seen.items() if key.startswith("status.")} == {
            "status.user": "7",
            f"status.{STATUS_DYED_KEY}": "d",
        }


def _monotonic() -> float:
    import time

    return time.monotonic()


async def test_nobody_listens(probe: Any) -> None:
    """ConnectFailed with code -8; the request was not sent."""
    async with Communicator(timeout_seconds=0.1) as c:
        with pytest.raises(ConnectFailed) as refused:
            await c.proxy(probe, free_port_address()).echo("x")
        assert refused.value.code == -8


async def test_a_broken_connection(probe: Any) -> None:
    """The server closes instead of answering: ConnectionLost for all that wait; the next call connects anew."""
    calls = 0

    async def answer(request: RequestPacket, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            writer.close()
        elif calls > 3:
            writer.write(encode_answer(request))

    server, address = await fake_server(answer)
    async with server, Communicator() as c:
        proxy = c.proxy(probe, address)
        got = await asyncio.gather(*(proxy.nothing() for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in got] == [ConnectionLost] * 3
        assert await proxy.nothing() is None


@pytest.mark.parametrize("garbage", [b"\x00\x00\x00\x01", b"\xff" * 64, b"\x00\x00\x00\x06\xff\xff"])
async def test_garbage_from_the_server(probe: Any, garbage: bytes) -> None:
    """An invalid packet ends the connection: ConnectionLost at once, not a time-out."""

    async def answer(request: RequestPacket, writer: asyncio.StreamWriter) -> None:
        writer.write(garbage)

    server, address = await fake_server(answer)
    async with server, Communicator() as c:
        with pytest.raises(ConnectionLost, match="invalid packet"):
            await c.proxy(probe, address).echo("x")


async def test_a_reply_that_does_not_fit(probe: Any) -> None:
    """A reply whose body is not the function's: BadReply, code -12; the connection goes on."""

    async def answer(request: RequestPacket, writer: asyncio.StreamWriter) -> None:
        writer.write(encode_answer(request, body=b"\x16\x01a" if request.function == "echo" else b""))

    server, address = await fake_server(answer)
    async with server, Communicator() as c:
        proxy = c.proxy(probe, address)
        with pytest.raises(BadReply) as bad:
            await proxy.echo("x")
        assert bad.value.code == -12
        assert await proxy.nothing() is None


async def test_reconnect_push(probe: Any, until: Any) -> None:
    """After `_reconnect_` new calls take a new connection while the old one still brings its replies."""
    connections: list[asyncio.StreamWriter] = []
    held: list[bytes] = []

    async def answer(request: RequestPacket, writer: asyncio.StreamWriter) -> None:
        if writer not in connections:
            connections.append(writer)
        if request.function == "gate":
            held.append(encode_answer(request, body=_text_body(probe, "late")))
            writer.write(encode_reconnect())
        else:
            writer.write(encode_answer(request, body=_text_body(probe, "new")))
            connections[0].write(held.pop())

    server, address = await fake_server(answer)
    async with server, Communicator() as c:
        proxy = c.proxy(probe, address)
        old = asyncio.create_task(proxy.gate("g"))
        await until(lambda: bool(held) and client_of(proxy).routes.links[0].ready() is None)
        assert await proxy.echo("x") == "new"
        assert await old == "late"
        assert len(connections) == 2


def _text_body(probe: Any, text: str) -> bytes:
    body: bytes = probe.__tars_interface__.functions["echo"].encode_result(text)
    return body


async def test_a_draining_server_loses_no_call(serve: Any, probe: Any) -> None:
    """A client that calls all the time over two servers, one of which drains: no call fails."""
    one, _, first = await serve()
    _, _, second = await serve()
    address = f"{first}:{second.partition('@')[2]}"
    async with Communicator(retry=Retry(attempts=1)) as c:
        proxy = c.proxy(probe, address)
        failures: list[BaseException] = []
        stopping: asyncio.Task[bool] | None = None
        for number in range(400):
            if number == 100:
                stopping = asyncio.create_task(one.stop(2.0))
            results = await asyncio.gather(*(proxy.echo("x") for _ in range(5)), return_exceptions=True)
            failures += [result for result in results if isinstance(result, BaseException)]
        assert failures == []
        assert stopping is not None
        assert await stopping


@pytest.mark.parametrize("policy", [CLASSIC, CPP])
async def test_a_dead_endpoint_costs_no_call(serve: Any, probe: Any, policy: FaultPolicy) -> None:
    """One of three endpoints is dead: its calls go to the next one at once, and later trials are not callers'. When it
    is back it takes calls again."""
    (_, _, one), (_, _, two) = await serve(), await serve()
    dead = free_port_address()
    address = f"{one}:{dead.partition('@')[2]}:{two.partition('@')[2]}"
    settings = ClientSettings(faults=replace(policy, retry_seconds=0.01))
    async with Communicator(settings=settings) as c:
        proxy = c.proxy(probe, address)
        for number in range(100):
            assert await proxy.echo(f"{number}") == f"{number}"
        [link] = [
            one for one in client_of(proxy).routes.links if dead.split("-p ")[1] == f"{one.endpoint.port}"
        ]
        assert link.health.blocked
        _, back, _ = await serve(dead)

        async def heard() -> bool:
            await proxy.echo("again")
            return "again" in back.calls

        while not await heard():  # noqa: ASYNC110 - each look is a call
            await asyncio.sleep(0.01)


async def test_callers_of_a_restarting_endpoint_wait(probe: Any, make_servant: Any, until: Any) -> None:
    """Twenty callers of one endpoint that is away for a moment are all answered, within their time-out."""
    address = free_port_address()
    async with Communicator(timeout_seconds=60.0) as c:
        proxy = c.proxy(probe, address)
        calls = [asyncio.create_task(proxy.echo(f"{number}")) for number in range(20)]
        await until(lambda: client_of(proxy).counters.connect_failures >= 20)
        server = Server(drain_seconds=0.5)
        server.add(make_servant(), address)
        await server.start()
        assert await asyncio.gather(*calls) == [f"{number}" for number in range(20)]
        await server.close()


async def test_codes_count_as_failures_where_the_policy_says_so(serve: Any, probe: Any) -> None:
    """TarsCpp leaves an endpoint alone that answered with a code; Tars.js and TarsGo do not."""
    _, _, address = await serve()
    for policy in (CPP, CLASSIC):
        async with Communicator(settings=ClientSettings(faults=policy)) as c:
            proxy = c.proxy(probe, address)
            with pytest.raises(RemoteError):
                await proxy.refuse(5, "no such user")
            [link] = client_of(proxy).routes.links
            assert link.health.blocked is policy.counts_codes


async def test_a_request_that_is_too_large_is_not_sent(serve: Any, probe: Any) -> None:
    """The caller's own limit is looked at first: NotSent, and calls on the same connection go on."""
    server, servant, address = await serve()
    async with Communicator(settings=ClientSettings(frame_bytes=2_000)) as c:
        proxy = c.proxy(probe, address)
        waiting = asyncio.create_task(proxy.gate("a"))
        await servant.entered["a"].wait()
        with pytest.raises(NotSent, match="frame_bytes allows 2000") as refused:
            await proxy.echo("x" * 3_000)
        assert refused.value.code == -13
        servant.gates["a"].set()
        assert await waiting == "a"
        assert server.states()[0].connections == 1


async def test_a_reply_that_is_too_large_is_not_sent(serve: Any, probe: Any) -> None:
    """The server answers "cannot encode" (-2) in its place, and the connection's other calls go on."""
    _, servant, address = await serve(limits=AdapterLimits(frame_bytes=2_000))
    async with Communicator() as c:
        proxy = c.proxy(probe, address)
        waiting = asyncio.create_task(proxy.gate("a"))
        await servant.entered["a"].wait()
        with pytest.raises(ServerCannotEncode, match="frame_bytes allows 2000"):
            await proxy.blob(3_000)
        servant.gates["a"].set()
        assert await waiting == "a"


async def test_a_reply_that_cannot_be_read_fails_its_own_call(probe: Any) -> None:
    """TarsCpp answers TUP version 2 with a ResponsePacket: BadReply (-12) for that call, the others go on."""
    gate = asyncio.Event()

    async def answer(request: RequestPacket, writer: asyncio.StreamWriter) -> None:
        if request.version == 2:
            reply = encode_response(ResponsePacket(version=2, request_id=request.request_id, code=-1))
            writer.write(reply)
            gate.set()
        else:
            await gate.wait()
            writer.write(encode_answer(request))

    async def apart(request: RequestPacket, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(answer(request, writer)))

    tasks: list[asyncio.Task[None]] = []
    server, address = await fake_server(apart)
    async with server, Communicator() as c:
        proxy = c.proxy(probe, address)
        waiting = asyncio.create_task(proxy.nothing())
        with pytest.raises(BadReply) as bad:
            await configure(proxy, version=2).nothing()
        assert bad.value.code == -12
        assert await waiting is None
        await asyncio.gather(*tasks)


class Awakening:
    """A locator that knows nothing at first, as a registry after a crash."""

    def __init__(self, found: Located, empty: int) -> None:
        self.found, self.left = found, empty

    async def find(self, name: str) -> Located:
        self.left -= 1
        return Located((), ()) if self.left >= 0 else self.found


async def test_a_first_call_waits_for_the_registry(serve: Any, probe: Any) -> None:
    """A registry that knows no endpoint for a moment is asked again within the caller's time-out."""
    _, _, address = await serve()
    known = await StaticLocator({NAME: address.partition("@")[2]}).find(NAME)
    async with Communicator(locator=Awakening(known, 1), timeout_seconds=60.0) as c:
        assert await c.proxy(probe, NAME).echo("x") == "x"
    async with Communicator(locator=Awakening(known, 1000), timeout_seconds=0.1) as c:
        with pytest.raises(NoEndpoint, match="knows no endpoint"):
            await c.proxy(probe, NAME).echo("x")


async def test_time_outs_are_repeated_only_when_idempotent(serve: Any, probe: Any, until: Any) -> None:
    """A time-out may have run: it is repeated with `idempotent` and a share of the time, not otherwise."""
    _, servant, address = await serve()
    async with Communicator(timeout_seconds=60.0) as c:
        proxy = c.proxy(probe, address, retry=Retry(attempts=2, attempt_seconds=0.4))
        await proxy.nothing()
        servant.calls.clear()
        with pytest.raises(CallTimeout):
            await configure(proxy, timeout_seconds=0.5).gate("a")
        await until(lambda: servant.calls == ["a"])
        again = configure(
            proxy, retry=Retry(attempts=2, idempotent=True, attempt_seconds=0.4), timeout_seconds=2.0
        )
        with pytest.raises(CallTimeout):
            await again.gate("b")
        await until(lambda: servant.calls == ["a", "b", "b", "b"])


async def test_a_sick_endpoint_is_left_alone(serve: Any, probe: Any) -> None:
    """After a failure (preset of TarsCpp) calls go to the healthy endpoint only."""
    _, servant, good = await serve()
    address = f"{free_port_address()}:{good.partition('@')[2]}"
    async with Communicator(settings=ClientSettings(faults=CPP)) as c:
        proxy = c.proxy(probe, address)
        assert [await proxy.echo("x") for _ in range(20)] == ["x"] * 20
        assert client_of(proxy).counters.connect_failures == 1
    assert servant.calls.count("x") == 20


async def test_all_endpoints_blocked_still_tries(serve: Any, probe: Any) -> None:
    """When every endpoint is blocked a call tries one all the same, so that recovery is noticed at once."""
    _, _, address = await serve()
    async with Communicator(settings=ClientSettings(faults=CPP)) as c:
        proxy = c.proxy(probe, address)
        link = client_of(proxy).routes.links[0]
        link.health.failed(_monotonic())
        assert link.health.blocked
        assert await proxy.echo("x") == "x"
        assert not link.health.blocked


async def test_hash_keeps_a_key_at_one_endpoint(serve: Any, probe: Any) -> None:
    """`hash=` and `consistent=True` send a key to one endpoint always, different keys to both; routekey does so too."""
    (_, first, one), (_, second, two) = await serve(), await serve()
    async with Communicator() as c:
        proxy = c.proxy(probe, f"{one}:{two.partition('@')[2]}")
        for options in ({"consistent": False}, {"consistent": True}):
            homes = set()
            for key in range(12):
                first.calls.clear()
                second.calls.clear()
                for _ in range(3):
                    await configure(proxy, hash=f"user {key}", **options).echo("x")
                assert (len(first.calls), len(second.calls)) in {(3, 0), (0, 3)}
                homes.add(bool(first.calls))
            assert homes == {True, False}
        homes = set()
        for user in range(4):
            first.calls.clear()
            second.calls.clear()
            assert await asyncio.gather(*(proxy.routed(user) for _ in range(3))) == [user] * 3
            assert (len(first.calls), len(second.calls)) in {(3, 0), (0, 3)}
            homes.add(bool(first.calls))
        assert homes == {True, False}, "two of four users at each"


async def test_look_up(serve: Any, probe: Any) -> None:
    """A bare name is looked up; an object that nobody knows, and no locator at all, are NoEndpoint."""
    _, _, address = await serve()
    locator = StaticLocator({NAME: address.partition("@")[2]})
    async with Communicator(locator=locator) as c:
        assert await c.proxy(probe, NAME).echo("found") == "found"
        with pytest.raises(NoEndpoint, match="knows no endpoint"):
            await c.proxy(probe, "No.Such.Obj").echo("x")
    async with Communicator() as c:
        with pytest.raises(NoEndpoint, match="no locator"):
            await c.proxy(probe, NAME).echo("x")


async def test_too_many_waiting_calls(serve: Any, probe: Any) -> None:
    """Beyond `pending` calls a further one fails at once with NotSent, code -13."""
    _, servant, address = await serve()
    async with Communicator(settings=ClientSettings(pending=2)) as c:
        proxy = c.proxy(probe, address)
        held = [asyncio.create_task(proxy.gate(name)) for name in "ab"]
        await servant.entered["a"].wait()
        await servant.entered["b"].wait()
        with pytest.raises(NotSent):
            await proxy.echo("x")
        for name in "ab":
            servant.gates[name].set()
        assert await asyncio.gather(*held) == ["a", "b"]


async def test_closing_ends_calls_under_way(serve: Any, probe: Any) -> None:
    """Calls that wait when the communicator closes raise ConnectionLost; later ones NotSent."""
    _, servant, address = await serve()
    async with Communicator() as c:
        proxy = c.proxy(probe, address)
        call = asyncio.create_task(proxy.gate("g"))
        await servant.entered["g"].wait()
    with pytest.raises(ConnectionLost):
        await call
    with pytest.raises(NotSent, match="closed"):
        await proxy.echo("x")


async def test_udp(serve: Any, probe: Any) -> None:
    """Calls over datagrams, and a time-out when one is lost."""
    _, _, address = await serve(f"{NAME}@udp -h 127.0.0.1 -p 0")
    async with Communicator() as c:
        proxy = c.proxy(probe, address)
        assert await asyncio.gather(*(proxy.echo(str(n)) for n in range(20))) == [str(n) for n in range(20)]
        with pytest.raises(CallTimeout):
            await configure(proxy, timeout_seconds=0.02).gate("g")


async def test_a_dead_connection_is_noticed_by_pings(probe: Any, until: Any) -> None:
    """keep_alive_seconds: a server that stops answering loses its connection although nobody calls."""
    hears = asyncio.Event()

    async def answer(request: RequestPacket, writer: asyncio.StreamWriter) -> None:
        if request.function == "nothing":
            writer.write(encode_answer(request))
        else:
            hears.set()  # a ping, never answered

    server, address = await fake_server(answer)
    async with server, Communicator(settings=ClientSettings(keep_alive_seconds=0.03)) as c:
        proxy = c.proxy(probe, address)
        await proxy.nothing()
        async with asyncio.timeout(60):
            await hears.wait()
            await until(lambda: client_of(proxy).routes.links[0].ready() is None)


async def test_the_observer_hears_of_every_call(serve: Any, probe: Any) -> None:
    """Servant, function, endpoint, code and duration, of good and failed calls."""
    seen: list[tuple[str, str, int]] = []

    class Observer:
        def called(self, servant: str, function: str, endpoint: str, code: int, seconds: float) -> None:
            assert seconds >= 0
            seen.append((servant, function, code))
            assert endpoint.startswith("tcp ")

    _, _, address = await serve()
    async with Communicator(settings=ClientSettings(observer=Observer())) as c:
        proxy = c.proxy(probe, address)
        await proxy.echo("x")
        with pytest.raises(RemoteError):
            await proxy.refuse(5, "five")
    assert seen == [(NAME, "echo", 0), (NAME, "refuse", 5)]


async def test_a_call_that_cannot_be_encoded_leaves_the_endpoint_as_it_was(serve: Any, probe: Any) -> None:
    """A context that is no text is an EncodeError of the caller, and says nothing about the endpoint."""
    _, _, address = await serve()
    async with Communicator(settings=ClientSettings(faults=CPP)) as c:
        proxy = c.proxy(probe, address)
        await proxy.echo("x")
        link = client_of(proxy).routes.links[0]
        link.health.failed(_monotonic())
        with pytest.raises(EncodeError):
            await configure(proxy, context={"number": 5}).echo("x")
        assert link.health.blocked
        assert link.health.trial_due(_monotonic() + 6)
        assert await proxy.echo("x") == "x"


async def test_push(probe: Any) -> None:
    """Packets that the server sends on its own reach the callback; one that raises does no harm."""
    pushed: list[bytes] = []

    def push(endpoint: Endpoint, packet: ResponsePacket) -> None:
        pushed.append(packet.body)
        raise RuntimeError("mine")

    async def answer(request: RequestPacket, writer: asyncio.StreamWriter) -> None:
        writer.write(encode_response(ResponsePacket(body=b"news")) + encode_answer(request))

    server, address = await fake_server(answer)
    async with server, Communicator(settings=ClientSettings(push=push)) as c:
        await c.proxy(probe, address).nothing()
        await c.proxy(probe, address).nothing()
    assert pushed == [b"news", b"news"]


async def test_a_servant_pushes_to_its_callers(probe: Any, make_servant: Any, until: Any) -> None:
    """A servant keeps the connection of a call and sends to it later; it hears when the connection ends."""
    kept: list[ClientConnection] = []
    ended: list[str] = []
    pushed: list[tuple[str, bytes]] = []

    class Pushing(type(make_servant())):  # type: ignore[misc]
        async def nothing(self) -> None:
            connection = current().connection
            assert connection is not None
            kept.append(connection)
            connection.on_close(self.gone)
            connection.on_close(self.gone)

        def gone(self) -> None:
            ended.append("gone")

    server = Server()
    server.add(Pushing(), f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 60000")
    push = ClientSettings(push=lambda _, packet: pushed.append((packet.status["TARS_FUNC"], packet.body)))
    async with server:
        async with Communicator(settings=push) as c:
            proxy = c.proxy(probe, server.address(NAME))
            await proxy.nothing()
            assert kept[0].push("news", b"1")
            await until(lambda: pushed == [("news", b"1")])
        await until(lambda: ended == ["gone"])
        assert not kept[0].push("news", b"2")
