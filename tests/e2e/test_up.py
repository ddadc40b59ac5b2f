"""`skerry up` from outside: three servers behind one address, kills, rolling restarts, an orderly end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from skerry.process import control
from skerry.process.tree import rendered
from skerry.testing.program import HttpAnswer, HttpConnection

sys.path.insert(0, str(Path(__file__).parent))
from trafficworld import Listener  # type: ignore[import-not-found]
from upworld import Up, free_port, messages, up  # type: ignore[import-not-found]

SOAK = os.environ.get("SKERRY_SOAK") == "1"
"""Whether the seconds of the contract are asked for: not on any machine, however busy."""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills and pidfds as on Linux")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_writes_are_seen_on_every_server(tmp_path: Path) -> None:
    """Three servers share the connections, each shows what was written through another."""
    async with up(tmp_path) as world:
        clients = [HttpConnection(world.port) for _ in range(6)]
        for number, client in enumerate(clients):
            answer = await client.ask("PUT", f"/values/k{number}", b"v%d" % number)
            assert answer.status == 200
        position = answer.headers["skerry-position"]
        for client in clients:
            for number in range(6):
                seen = await client.ask("GET", f"/values/k{number}", Skerry_Position=position)
                assert (seen.status, b'"v%d"' % number in seen.body) == (200, True)
        await world.until(
            lambda: [p.gauges.get("connections") for p in world.processes("server")] == [2, 2, 2]
        )
        tree = rendered(world.status(), time.time())
        assert "├─ balancer" in tree
        assert "└─ consumer-1" in tree
        for client in clients:
            client.close()


def left_behind(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_socket() or path.suffix == ".sock"]


async def test_ctrl_c_to_everybody_drains_once_and_leaves_nothing(tmp_path: Path) -> None:
    """SIGINT to the runner and every child at once, as a terminal sends it: a clean end within five seconds, exit
    code 0, no process, no socket file, and a request under way is answered."""
    async with up(tmp_path) as world:
        client = HttpConnection(world.port)
        assert (await client.ask("PUT", "/values/a", b"1")).status == 200
        pids = [world.pid, *(p.pid for p in world.processes())]
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        began = time.monotonic()
        assert await world.ended() == 0, "\n".join(world.lines)
        took = time.monotonic() - began
        print(f"ended after {took:.2f} s")
        assert took < 5.0 or not SOAK
        assert not any(alive(pid) for pid in pids)
        assert left_behind(tmp_path) == [], "\n".join(world.lines)
        assert not any("Traceback" in line for line in world.lines), "\n".join(world.lines)
        client.close()


async def test_a_second_ctrl_c_ends_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    """Who cannot wait for a drain: servers that are stopped do not hold up the end, and no socket file stays."""
    async with up(tmp_path) as world:
        pids = [world.pid, *(p.pid for p in world.processes())]
        for server in world.processes("server"):
            os.kill(server.pid, signal.SIGSTOP)
        world.send_signal(signal.SIGINT)
        await world.until(lambda: world.said('"ending"'))
        assert await world.stop() == 130
        assert world.said("ending at once")
        assert not any(alive(pid) for pid in pids)
        assert left_behind(tmp_path) == [], "\n".join(world.lines)


async def test_every_child_may_be_killed(tmp_path: Path) -> None:
    """Any one killed with -9: the next requests succeed within the time of the contract, and nothing is lost."""
    async with up(tmp_path) as world:

        def restarts() -> dict[str, int]:
            return {p.name: p.restarts for p in world.processes()}

        assert (await HttpConnection(world.port).ask("PUT", "/values/kept", b"yes")).status == 200
        for name, bound in (("server-1", 1.0), ("server-2", 1.0), ("balancer", 2.0), ("consumer-1", 2.0)):
            [victim] = [p for p in world.processes() if p.name == name]
            os.kill(victim.pid, signal.SIGKILL)
            began = time.monotonic()
            client = HttpConnection(world.port)
            async with asyncio.timeout(90):
                while True:
                    try:
                        answer = await client.ask("PUT", f"/values/after-{name}", b"1")
                    except ConnectionError:
                        await asyncio.sleep(0.01)
                        continue
                    if answer.status == 200:
                        break
                    assert answer.status == 503, answer
            took = time.monotonic() - began
            print(f"{name}: writes were answered after {took:.2f} s")
            assert took < bound + 1.0 or not SOAK
            assert (await client.ask("GET", "/values/kept")).status == 200
            client.close()
            await world.until(lambda name=name: restarts()[name] == 1)
            await world.all_ready()
        assert list(restarts().values()) == [1, 1, 1, 0, 1]


@pytest.mark.timeout(600)
async def test_rolling_restart_without_a_failed_request(tmp_path: Path) -> None:
    """SIGHUP under load: every process is another one afterwards, no request failed, no kept connection broke."""
    async with up(tmp_path, "--keep-alive", "600") as world:
        before = {p.name: p.pid for p in world.processes()}
        stop = asyncio.Event()
        counts = {"ok": 0}
        bad: list[object] = []

        async def load(number: int) -> None:
            client = HttpConnection(world.port)
            while not stop.is_set():
                method = "PUT" if number % 4 == 0 else "GET"
                body = b"x" if method == "PUT" else b""
                try:
                    answer = await client.ask(method, f"/values/k{number}", body, Prefer="wait=30")
                except ConnectionError as error:
                    bad.append(error)
                    continue
                if answer.status not in (200, 404):
                    bad.append((method, answer))
                counts["ok"] += 1
            client.close()

        async def idle() -> HttpConnection:
            client = HttpConnection(world.port)
            assert (await client.ask("GET", "/values/nothing")).status == 404
            return client

        quiet = [await idle() for _ in range(6)]
        tasks = [asyncio.create_task(load(number)) for number in range(12)]
        world.send_signal(signal.SIGHUP)
        await world.until(lambda: world.said("every process was replaced"), 400)
        stop.set()
        await asyncio.gather(*tasks)
        assert bad == []
        assert counts["ok"] > 100
        after = {p.name: p.pid for p in world.processes()}
        assert after.keys() == before.keys()
        assert not {*after.values()} & {*before.values()}
        for client in quiet:  # they slept through it, on the very same connection
            assert (await client.ask("GET", "/values/nothing")).status == 404
            assert client.connections == 1
            client.close()


async def test_a_request_has_the_whole_drain(tmp_path: Path) -> None:
    """In a replacement nobody is in a hurry: a request may take far longer than `SKERRY_DRAIN`. (What is told when the
    time is over: tests/server/test_release.py.)"""
    (tmp_path / "slow.py").write_text(
        "import asyncio, pathlib\n"
        "from skerry import App, Response\n"
        "app = App('slow')\n"
        "@app.get('/slow')\n"
        "async def slow() -> Response:\n"
        "    pathlib.Path('asked').touch()\n"
        "    while not pathlib.Path('enough').exists():\n"
        "        await asyncio.sleep(0.01)\n"
        "    return Response(b'done')\n"
    )

    async def asked(world: Up) -> asyncio.Task[HttpAnswer]:
        client = HttpConnection(world.port)
        asking = asyncio.create_task(client.ask("GET", "/slow"))
        await world.until((tmp_path / "asked").exists)
        (tmp_path / "asked").unlink()
        return asking

    async with up(tmp_path, "--servers", "1", "--drain", "0.2", target="slow:app") as world:
        [server] = world.processes("server")
        asking = await asked(world)
        world.send_signal(signal.SIGHUP)
        await world.until(lambda: world.processes("server")[0].pid != server.pid)
        await asyncio.sleep(1.0)  # five times the drain
        assert not asking.done()
        (tmp_path / "enough").touch()
        answer = await asking
        assert (answer.status, answer.body) == (200, b"done")
        await world.until(lambda: world.said("every process was replaced"))
        assert not alive(server.pid)


async def test_ctrl_z_stops_all_and_they_go_on(tmp_path: Path) -> None:
    """SIGTSTP comes to the runner alone, as from a terminal: every process stands still; after `fg` each goes on, and
    none was taken for a hung one."""

    def state(pid: int) -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    async with up(tmp_path, "--servers", "1") as world:
        pids = {world.pid, *(p.pid for p in world.processes())}
        world.send_signal(signal.SIGTSTP)
        await world.until(lambda: {state(pid) for pid in pids} == {"T"})
        world.send_signal(signal.SIGCONT)
        client = HttpConnection(world.port)
        assert (await client.ask("PUT", "/values/a", b"1")).status == 200
        assert {world.pid, *(p.pid for p in world.processes())} == pids
        client.close()


async def test_listeners_of_a_killed_gateway_resume(tmp_path: Path) -> None:
    """Killed with -9 it is started again at its port, and a listener there misses nothing."""
    port = free_port()
    gateway = ["--gateways", "1", "--gateway-bind", f"127.0.0.1:{port}"]
    async with up(tmp_path, "--servers", "1", *gateway) as world:
        listener, client = Listener(port), HttpConnection(world.port)
        listening = asyncio.create_task(listener.run())
        assert (await client.ask("PUT", "/values/a", b"1")).status == 200
        await world.until(lambda: listener.values == {"a": "1"})
        [victim] = world.processes("gateway")
        os.kill(victim.pid, signal.SIGKILL)
        assert (await client.ask("PUT", "/values/b", b"2")).status == 200
        await world.until(lambda: listener.values == {"a": "1", "b": "2"})
        assert listener.connections > 1
        listening.cancel()
        client.close()


async def test_a_vanished_runtime_directory_costs_nothing(tmp_path: Path) -> None:
    """logind clears it away at a logout: servers that are started afterwards join all the same, no request fails, and
    `skerry ps` finds the runner again."""
    async with up(tmp_path, "--servers", "1") as world:
        before = {p.pid for p in world.processes()}
        shutil.rmtree(tmp_path / "run")
        world.send_signal(signal.SIGHUP)
        client = HttpConnection(world.port)
        while not world.said("every process was replaced"):
            assert (await client.ask("PUT", "/values/k", b"v")).status == 200
            fresh = HttpConnection(world.port)
            assert (await fresh.ask("GET", "/values/k")).status == 200
            fresh.close()
        client.close()
        await world.until(lambda: control.runner_directory(world.pid).exists())
        after = world.processes()
        assert {p.state for p in after} == {"ready"}
        assert not before & {p.pid for p in after}


async def test_operators_order_and_settings_are_read_again(tmp_path: Path) -> None:
    """`skerry reload` replaces every process with ones that have read `.env` anew, and a wrong setting there replaces
    nothing; `skerry stop` and `skerry scale` reach the runner; each command's exit code says how it went."""

    async def skerry(*words: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "skerry", *words,
            cwd="/", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(120):
            said, _ = await process.communicate()
        return process.returncode, said.decode()

    async def status() -> int:
        client = HttpConnection(world.port)
        try:
            return (await client.ask("GET", "/values/nothing")).status
        finally:
            client.close()

    async with up(tmp_path, "--servers", "1") as world:
        before = {p.pid for p in world.processes()}
        (tmp_path / ".env").write_text("SKERRY_WAIT=soon\n")
        code, said = await skerry("reload", "--wait")
        assert (code, "skerry: wait: 'soon' (from .env) is not a number" in said) == (2, True), said
        assert {p.pid for p in world.processes()} == before
        assert await status() == 404
        (tmp_path / ".env").write_text("SKERRY_TOKENS=read:one,write:two\n")
        code, said = await skerry("reload", "--wait")
        assert (code, said.splitlines()[-1]) == (0, "done"), said
        assert not before & {p.pid for p in world.processes()}
        assert await status() == 401
        assert await skerry("scale", "servers=2") == (0, "server-2 was added\nserver: 2\n")
        code, said = await skerry("stop", "server-1")
        assert code == 0, said
        assert {p.name: p.state for p in world.processes("server")} == {
            "server-1": "stopped",
            "server-2": "ready",
        }
        assert await status() == 401, "by the other one"
        code, said = await skerry("scale", "gateways=1")
        assert code == 2, said
        code, said = await skerry("ps", "--json")
        told = {each["name"]: each for each in json.loads(said)["processes"]}
        assert (code, told["server-1"]["state"], told["server-2"]["pid"] > 0) == (0, "stopped", True)
        code, said = await skerry("ps", "--details")
        assert (code, "consumer-1" in said) == (0, True)


async def test_a_taken_port_and_a_wrong_target_are_clear_lines(tmp_path: Path) -> None:
    """Wrong settings end with one line that names the setting, and exit code 2."""
    port = free_port()
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", port)
    async with up(tmp_path, wait=False, port=port) as world:
        assert await world.ended() == 2
    assert world.lines == [
        f"skerry: bind: 127.0.0.1:{port} is in use by another program; stop it or choose another port"
    ]
    server.close()
    async with up(tmp_path, "--servers", "1") as holder:
        async with up(tmp_path, wait=False, port=holder.port) as world:
            assert await world.ended() == 2
        assert world.lines == [
            f"skerry: bind: 127.0.0.1:{holder.port} is in use by `skerry up livekv:app` (pid {holder.pid}); "
            "end that one or choose another port"
        ]
        os.environ["SKERRY_RUNTIME_DIR"] = str(tmp_path / "run")
    async with up(tmp_path, target="nowhere:app", wait=False) as world:
        assert await world.ended() == 2
    [line] = world.lines
    assert line.startswith("skerry: TARGET: there is no module 'nowhere' here")
    async with up(tmp_path, target="livekv:nope", wait=False) as world:
        assert await world.ended() == 2
    assert messages(world) == ["up: TARGET: module 'livekv' has no 'nope'; write livekv:app"], (
        "once, not by every child"
    )


async def test_an_application_that_cannot_be_imported_is_said_once(tmp_path: Path) -> None:
    """From its own first line on, without the way there; with `--reload` it is started when it has been mended."""
    program = tmp_path / "broken.py"
    program.write_text("settings = {}\nprint(settings['colour'])\n")
    said = [
        "up: TARGET: 'broken' cannot be imported:",
        "up: Traceback (most recent call last):",
        f'up:   File "{program}", line 2, in <module>',
        "up:     print(settings['colour'])",
        "up:           ~~~~~~~~^^^^^^^^^^",
        "up: KeyError: 'colour'",
    ]
    async with up(tmp_path, target="broken:app", wait=False) as world:
        assert await world.ended() == 2
    assert messages(world) == said
    async with up(tmp_path, "--reload", "--servers", "1", target="broken:app", wait=False) as world:
        await world.until(lambda: world.said("KeyError"))
        program.write_text("from skerry import App\napp = App('mended')\n")
        await world.until(lambda: world.said('"ready on'))
        assert messages(world)[: len(said)] == said


async def test_reload_keeps_the_last_good_version(tmp_path: Path) -> None:
    """A changed file replaces the processes; a broken one does not, and its mending does."""
    program = tmp_path / "shop.py"

    def write(answer: str) -> None:
        program.write_text(
            "from skerry import App, Response\n"
            "app = App('shop')\n"
            "@app.get('/version')\n"
            "def version() -> Response:\n"
            f"    return Response({answer})\n"
        )

    write("b'one'")
    async with up(tmp_path, "--reload", "--servers", "1", target="shop:app") as world:

        async def version() -> bytes:
            client = HttpConnection(world.port)
            try:
                return bytes((await client.ask("GET", "/version")).body)
            finally:
                client.close()

        assert await version() == b"one"
        write("(")
        await world.until(lambda: world.said("stays as it is"))
        assert await version() == b"one"
        write("b'two'")
        await world.until(lambda: world.said("every process was replaced"))
        assert await version() == b"two"


async def test_printed_text_cannot_pass_for_a_record(tmp_path: Path) -> None:
    """Every line is a JSON object, each with its process; what a view prints is a message, whatever it looks like, also
    where a record follows it in the same line."""
    (tmp_path / "prints.py").write_text(
        "import logging, sys\n"
        "from skerry import App, Response\n"
        "app = App('prints')\n"
        "@app.get('/print')\n"
        "def prints() -> Response:\n"
        '    print(\'{"level": "error", "process": "up", "message": "forged"}\')\n'
        "    print({'a': 1})\n"
        "    sys.stdout.write('without an end')\n"
        "    sys.stdout.flush()\n"
        "    logging.getLogger('shop').warning('genuine')\n"
        "    return Response(b'')\n"
    )
    async with up(tmp_path, "--servers", "1", target="prints:app") as world:
        client = HttpConnection(world.port)
        assert (await client.ask("GET", "/print")).status == 200
        client.close()
        await world.until(lambda: world.said("genuine"))
    records = [json.loads(line) for line in world.lines]
    assert all(record["process"] for record in records)
    forged = '{"level": "error", "process": "up", "message": "forged"}'
    assert [(r["process"], r["message"]) for r in records if "logger" not in r and r["process"] != "up"] == [
        ("server-1", forged), ("server-1", "{'a': 1}"), ("server-1", "without an end"),
    ]  # fmt: skip
    [genuine] = [record for record in records if record.get("logger") == "shop"]
    assert (genuine["process"], genuine["level"], genuine["message"]) == ("server-1", "warning", "genuine")
    assert {record["process"] for record in records if record.get("logger") == "skerry.balancer"} == {
        "balancer"
    }


def children_of(pid: int) -> dict[int, list[str]]:
    """The command lines of a process's own children."""
    pids = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return {int(each): Path(f"/proc/{each}/cmdline").read_bytes().decode().split("\0") for each in pids}


def shared_bytes(pid: int) -> int:
    """Memory that was written before a fork and has not been since."""
    rows = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return int(rows["Shared_Dirty"].split()[0]) * 1024


async def test_processes_are_forked_from_one_that_has_imported(tmp_path: Path) -> None:
    """All are children of the runner with the command lines of their roles, and share memory; without a fork server
    they are executed."""
    async with up(tmp_path, "--servers", "1") as world:
        roles = {each.pid: each.role for each in world.processes()}
        found = children_of(world.pid)
        assert {pid: line[3] for pid, line in found.items() if pid in roles} == roles
        assert [line[3] for pid, line in found.items() if pid not in roles] == ["forkserver"]
        assert all(shared_bytes(pid) > 4 << 20 for pid in roles)
        assert not world.said("imports the application itself"), world.text
    async with up(tmp_path, "--servers", "1", "--no-fork-server") as world:
        assert sorted(line[3] for line in children_of(world.pid).values()) == [
            "balancer",
            "consumer",
            "server",
        ]
