"""`skerry run`, `server` and `consumer` as a user starts them: real processes, their answers, their last words."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from skerry.cli.processes import runner_settings
from skerry.kernel.settings import CLOSING_SECONDS, Settings
from skerry.process.restarts import RestartSettings
from skerry.testing.program import HttpConnection, Program, call, surroundings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and unix sockets")
BIND = ("--bind", "127.0.0.1:0")
SOAK = os.environ.get("SKERRY_SOAK") == "1"
"""Whether the seconds of the contract are asked for: not on any machine, however busy."""


def files(directory: Path) -> list[Path]:
    return [p for p in directory.rglob("*") if p.is_file()]


def sockets(directory: Path) -> list[str]:
    """Sockets and the directories made for them, which must not outlive their process."""
    return [str(p) for p in directory.rglob("*") if p.is_socket() or p.name.endswith(".sockets")]


def program(directory: Path, command: str, *options: str, **environ: str) -> Program:
    return Program(directory, command, "livekv:app", *options, environ=environ)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_cleanly(tmp_path: Path, number: int) -> None:
    """Within five seconds, with exit code 0, while clients are connected and (SIGINT) one is in the middle of a
    request; no socket stays behind, what was answered is there at the next start."""
    async with program(tmp_path, "run", *BIND) as one:
        port = await one.listening()
        client = HttpConnection(port)
        assert (await client.ask("PUT", "/values/a", b"1")).status == 200
        _, half = await asyncio.open_connection("127.0.0.1", port)
        if number == signal.SIGINT:
            half.write(b"PUT /values/b HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
            await half.drain()
        assert sockets(tmp_path), "while it runs others can join"
        began = time.monotonic()
        assert await one.stop(number) == 0
        took = time.monotonic() - began
        print(f"ended after {took:.2f} s")
        assert took < 5.0 or not SOAK
        assert sockets(tmp_path) == []
        half.close()
        client.close()
    async with program(tmp_path, "run", *BIND) as again:
        answer = await HttpConnection(await again.listening()).ask("GET", "/values/a")
        assert (answer.status, answer.body) == (200, b'{"key":"a","value":"1"}')
        assert await again.stop() == 0


async def test_a_write_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    """A signal and many writes at once: each is answered 200 and is there, or is not answered 200."""
    async with program(tmp_path, "run", *BIND) as one:
        port = await one.listening()
        clients = [HttpConnection(port) for _ in range(20)]
        for client in clients:
            await client.ask("GET", "/health/live")
        writes = [
            asyncio.ensure_future(client.ask("PUT", f"/values/{n}", b"x")) for n, client in enumerate(clients)
        ]
        await asyncio.sleep(0)
        assert await one.stop() == 0
        found = await asyncio.gather(*writes, return_exceptions=True)
    answered = {
        n for n, each in enumerate(found) if not isinstance(each, BaseException) and each.status == 200
    }
    async with program(tmp_path, "run", *BIND) as again:
        client = HttpConnection(await again.listening())
        for n in answered:
            assert (await client.ask("GET", f"/values/{n}")).status == 200


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Somebody who is impatient is obeyed: exit code 128 + the signal's number. What ends with it is told as no
    failure."""
    async with program(tmp_path, "run", *BIND, "--drain", "60") as one:
        port = await one.listening()
        _, slow = await asyncio.open_connection("127.0.0.1", port)
        slow.write(b"PUT /values/b HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        await slow.drain()
        await HttpConnection(port).ask("GET", "/health/live")
        one.send_signal(signal.SIGTERM)
        await one.until(lambda: "signal SIGTERM" in one.text)
        assert await one.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        slow.close()
        last = [json.loads(line) for line in one.lines[-3:]]
        assert [line["level"] for line in last] == ["info"] * 3, one.text
        assert "ends at once: signal SIGTERM" in last[-1]["message"]


def test_how_long_a_replaced_process_may_take() -> None:
    """Thirty seconds, or the drain where that is longer; with --reload, where somebody waits, the drain alone."""

    def seconds(**given: Any) -> float:
        return runner_settings(Settings(**given), RestartSettings()).replaced_seconds - CLOSING_SECONDS

    assert [seconds(), seconds(drain=60.0), seconds(drain=0.5, reload=True)] == [30.0, 60.0, 0.5]


async def test_logs_are_json_where_nobody_watches(tmp_path: Path) -> None:
    """One object a line, with the process's own words; `--log-format text` says otherwise."""
    async with program(tmp_path, "run", *BIND) as one:
        await one.listening()
        assert await one.stop() == 0
        lines = [json.loads(line) for line in one.lines]
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    assert any("listening on http://127.0.0.1:" in line["message"] for line in lines)
    async with program(tmp_path, "run", *BIND, "--log-format", "text") as two:
        await two.listening()
        assert await two.stop() == 0
    assert not any(line.startswith("{") for line in two.lines)


async def test_logs_are_readable_on_a_terminal(tmp_path: Path) -> None:
    """A pseudo terminal gets text with colours."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "skerry", "run", "livekv:app", *BIND,
        cwd=tmp_path, env=surroundings(tmp_path), stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = b""
    try:
        async with asyncio.timeout(60):
            while b"listening on" not in seen:
                try:
                    seen += os.read(ours, 4096)
                except BlockingIOError:
                    await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
    assert b"{" not in seen
    assert b"\x1b[36minfo" in seen


async def test_a_second_instance_says_who_owns_the_journal(tmp_path: Path) -> None:
    """It stands by, says for whom, ends at once when it is told to, and takes over when the owner is gone."""
    async with program(tmp_path, "run", *BIND) as owner:
        await owner.listening()
        async with program(tmp_path, "run", *BIND) as second:
            await second.until(lambda: "standing by" in second.text)
            assert f"process {owner.pid} owns .skerry/livekv.db" in second.text
            assert second.port == 0, "it takes no requests meanwhile"
            assert await second.stop() == 0
            await second.start()
            await second.until(lambda: "standing by" in second.text)
            await owner.kill()
            answer = await HttpConnection(await second.listening()).ask("PUT", "/values/a", b"1")
            assert answer.status == 200
            assert await second.stop() == 0
    assert sockets(tmp_path) == []


async def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    """Exit code 2, the setting, the address and what to do; nothing was opened before that was found out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for role in ("run", "server"):
            found = await call(tmp_path, role, "livekv:app", "--bind", f"127.0.0.1:{port}")
            assert found.code == 2
            assert found.error == (
                f"skerry: bind: 127.0.0.1:{port} is in use by another program; stop it or choose another port\n"
            )
    assert [p.name for p in files(tmp_path)] == []


WRONG = [
    (["--partitions", "x"], {}, "skerry: partitions: 'x' (from command line) is not a whole number"),
    ([], {"SKERRY_PARTITIONS": "0"}, "skerry: partitions: '0' (from environment) is not between 1 and 1024"),
    ([], {"SKERRY_LOG_LEVEL": "loud"}, "(from environment)"),
    (
        ["--bind", "nonsense"],
        {},
        "skerry: bind: 'nonsense' is not HOST:PORT (ports 0 to 65535) (from command line)",
    ),
    (["--tokens", "all:secret"], {}, "skerry: tokens: entry 1 is none of `read:TOKEN`, `write:TOKEN`"),
    (["--tls-cert", "nowhere.pem", "--tls-key", "nowhere.pem"], {}, "skerry: tls_cert: "),
    (["--journal", "mysql://x"], {}, "skerry: journal: 'mysql://x' begins with none of"),
    (["--journal", "sqlite://x"], {}, "skerry: journal: "),
    (
        ["--transport", "amqp://user:secret@host"],
        {},
        "skerry: transport: amqp: does not go with journal sqlite:",
    ),
    (["--journal", "sqlite:////dev/null/x.db"], {}, "skerry: "),
    (["--bind", "192.0.2.1:80"], {}, "skerry: bind: '192.0.2.1' is not an address of this machine"),
    (["--bind", "no.such.host.invalid:80"], {}, "skerry: bind: no such host"),
]


@pytest.mark.parametrize(
    ("options", "environ", "says"), WRONG, ids=lambda value: "-".join(map(str, value))[:40]
)
async def test_a_wrong_setting_is_one_line(
    tmp_path: Path, options: list[str], environ: dict[str, str], says: str
) -> None:
    """Exit code 2, the setting and where it came from; never a traceback, never a secret."""
    bind = [] if "--bind" in options else BIND
    found = await call(tmp_path, "run", "livekv:app", *bind, *options, environ=environ)
    assert found.code == 2, found
    lines = [line for line in found.error.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, found.error
    assert says in lines[0]
    assert "secret" not in found.error


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere:app", "there is no module 'nowhere' here"),
        ("livekv:nothing", "module 'livekv' has no 'nothing'"),
        ("livekv.messages:values", "livekv.messages:values is a Table, not a skerry.App"),
        ("live kv", "is not MODULE:NAME, as in livekv:app"),
    ],
)
async def test_a_wrong_target_is_one_line(tmp_path: Path, target: str, says: str) -> None:
    """Exit code 2."""
    found = await call(tmp_path, "run", target)
    assert found.code == 2
    assert says in found.error
    assert found.error.count("\n") == 1


async def test_an_application_that_contradicts_itself_is_one_line(tmp_path: Path) -> None:
    """Two handlers for one command, a view that nothing fills: exit code 2, found at start."""
    (tmp_path / "twice.py").write_text(
        "from skerry import App, Command, Unit\n"
        "class Do(Command):\n    key: str\n"
        "app = App('twice')\n"
        "@app.handles(Do)\ndef one(command: Do, unit: Unit) -> None: ...\n"
        "@app.handles(Do)\ndef two(command: Do, unit: Unit) -> None: ...\n"
    )
    (tmp_path / "needy.py").write_text(
        "from pathlib import Path\nfrom skerry import App\n"
        "class Mailer: ...\n"
        "app = App('needy')\n"
        "@app.get('/')\ndef view(mailer: Mailer) -> str: return ''\n"
    )
    for target, says in (("twice:app", "two handlers for the command Do"), ("needy:app", "Mailer")):
        found = await call(tmp_path, "run", target, *BIND)
        assert found.code == 2, found
        lines = [line for line in found.error.splitlines() if not line.startswith("{")]
        assert len(lines) == 1, found.error
        assert says in lines[0]
    assert sockets(tmp_path) == []


async def test_server_and_consumer_apart(tmp_path: Path) -> None:
    """Two processes on `local:`: a write goes to the consumer and comes back as an event; without the consumer reads
    go on from memory and writes say 503, not 200; when it is back, so are writes, and nothing was lost."""
    async with program(tmp_path, "consumer") as consumer, program(tmp_path, "server", *BIND) as server:
        client = HttpConnection(await server.listening())
        first = await client.ask("PUT", "/values/a", b"1")
        assert first.status == 200
        await consumer.kill()
        assert (await client.ask("GET", "/values/a")).body == b'{"key":"a","value":"1"}'
        lost = await client.ask("PUT", "/values/b", b"2", Prefer="wait=0.2", Idempotency_Key="b")
        assert (lost.status, lost.headers["retry-after"]) == (503, "1")
        assert (await client.ask("GET", "/health/ready")).status == 200
        await consumer.start()
        async with asyncio.timeout(60):
            while (again := await client.ask("PUT", "/values/b", b"2", Idempotency_Key="b")).status != 200:
                assert again.status == 503, again
                await asyncio.sleep(0.05)
        epoch, _, offset = again.headers["skerry-position"].partition(":")
        assert (epoch, offset) == (first.headers["skerry-position"].partition(":")[0], "2")
        assert await server.stop() == 0
        assert await consumer.stop() == 0
    assert sockets(tmp_path) == []


async def test_a_warm_start_serves_reads_while_the_owner_is_away(tmp_path: Path) -> None:
    """A server that was there before answers from its copy, says how old it is, refuses writes with 503, and catches
    up when the consumer is there."""
    async with program(tmp_path, "consumer") as consumer, program(tmp_path, "server", *BIND) as server:
        client = HttpConnection(await server.listening())
        for n in range(20):
            assert (await client.ask("PUT", f"/values/{n}", b"x")).status == 200
        assert await server.stop() == 0
        other = program(tmp_path, "server", *BIND, "--process", "another")
        async with other:
            assert (await HttpConnection(await other.listening()).ask("DELETE", "/values/7")).status == 200
            assert await other.stop() == 0
        assert await consumer.stop() == 0
        await server.start()
        client = HttpConnection(await server.listening())
        page = json.loads((await client.ask("GET", "/values")).body)
        assert len(page["values"]) == 20, "the copy, which does not know of the deletion"
        ready = await client.ask("GET", "/health/ready")
        assert (ready.status, b"copy" in ready.body) == (200, True), ready
        assert (await client.ask("PUT", "/values/z", b"x", Prefer="wait=0.2")).status == 503
        await consumer.start()
        async with asyncio.timeout(60):
            while (await client.ask("GET", "/values/7")).status != 404:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        assert len(json.loads((await client.ask("GET", "/values")).body)["values"]) == 19
        async with asyncio.timeout(60):
            while (again := await client.ask("PUT", "/values/z", b"x")).status != 200:
                assert again.status == 503, again


async def test_a_first_start_without_the_owner_says_what_is_missing(tmp_path: Path) -> None:
    """No copy, no consumer: not a server that answers 404 to everything, but one line and exit code 1."""
    found = await call(tmp_path, "server", "livekv:app", *BIND, "--log-format", "text")
    assert found.code == 1
    assert "Traceback" not in found.error
    assert "consumer" in found.error


async def test_memory_needs_one_process(tmp_path: Path) -> None:
    """`server` alone on memory: could never be written to: refused with what would be right."""
    found = await call(tmp_path, "server", "livekv:app", "--journal", "memory:", *BIND)
    assert found.code == 2
    assert "memory: is for one process" in found.error


async def test_a_signal_while_it_waits_for_the_consumer(tmp_path: Path) -> None:
    """A server that nobody needs any more ends at once, also before it could start."""
    async with program(tmp_path, "server", *BIND, "--log-level", "debug") as server:
        await server.until(lambda: "cannot reach the consumer" in server.text)
        assert server.running
        assert await server.stop() == 0
        assert "Traceback" not in server.text


async def test_help_reads_well(tmp_path: Path) -> None:
    """Every command has one; every setting stands with its variable; exit code 0."""
    main = await call(tmp_path, "--help")
    assert main.code == 0
    commands = [line.split()[0] for line in main.out.partition("Commands:")[2].splitlines() if line.strip()]
    assert {"run", "up", "server", "consumer", "routes", "bus", "journal", "dead", "ps"} <= set(commands)
    found = await call(tmp_path, "run", "--help")
    assert found.code == 0
    for name in ("SKERRY_JOURNAL", "SKERRY_TRANSPORT", "SKERRY_NAMESPACE", "SKERRY_BIND", "SKERRY_TOKENS"):
        assert name in found.out
