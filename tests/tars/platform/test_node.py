"""What the node hears, and what of a file an adapter makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skerry import tars
from skerry.tars.call_errors import CallTimeout
from skerry.tars.platform.adapters import terms_of
from skerry.tars.platform.admin import AdminServant, framed
from skerry.tars.platform.configuration import AdapterConfiguration, Configuration, TlsFiles
from skerry.tars.platform.domain import ConfigurationError
from skerry.tars.platform.node import ACTIVATING_SECONDS, ALIVE_SECONDS, SILENT_SECONDS, KeepAlives
from skerry.tars.servant import Servant
from skerry.testing.tars.node import configuration_for

CERTIFICATES = Path(__file__).parents[1] / "tls"
demo: Any = tars.load_text(
    "module Demo { interface Plain { int one(); int two(); }; interface Mixed { int one(); }; };"
).Demo


class Plain(demo.Plain):  # type: ignore[misc]
    def one(self) -> int:
        return 1

    def two(self) -> int:
        return 2


class Mixed(demo.Mixed):  # type: ignore[misc]
    async def one(self) -> int:
        return 1


class FakeCalls:
    """Takes the place of `Node`: keeps what would be sent; `away`: the node does not answer."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.away = False

    async def keep_alive(self, adapter: str = "") -> None:
        self._say(f"alive {adapter}".strip())

    async def keep_activating(self) -> None:
        self._say("activating")

    async def report_version(self, version: str) -> None:
        self._say(f"version {version}")

    def _say(self, what: str) -> None:
        if self.away:
            raise CallTimeout("keepAlive", "tcp -h 127.0.0.1 -p 1", "the node is away")
        self.said.append(what)


async def test_what_is_due_from_start_to_silence() -> None:
    """Activating first; then all, the version, and each adapter; nothing while no process answers; everything again
    when one does, or when the node is back."""
    answers = [True]
    keep, node = KeepAlives(configuration_for("PyServer", ["AObj"]), lambda: answers[0]), FakeCalls()
    assert await keep.tell(node) == ACTIVATING_SECONDS  # type: ignore[arg-type]
    keep.serve("1.2")
    node.away = True
    assert await keep.tell(node) == SILENT_SECONDS  # type: ignore[arg-type]
    node.away = False
    assert await keep.tell(node) == ALIVE_SECONDS  # type: ignore[arg-type]
    each = ["alive Demo.PyServer.AObjAdapter", "alive AdminAdapter"]
    assert node.said == ["activating", "alive", "version 1.2", *each]
    answers[0] = False
    assert await keep.tell(node) == SILENT_SECONDS  # type: ignore[arg-type]
    assert keep.is_silent
    assert node.said[5:] == []
    answers[0] = True
    await keep.tell(node)  # type: ignore[arg-type]
    assert node.said[5:] == each


def adapter(**values: Any) -> AdapterConfiguration:
    [made] = configuration_for("PyServer", ["AObj"]).adapters
    return replace(made, **values)


def test_what_several_processes_share() -> None:
    """Connections and threads are shared out, rounded up; of plain functions as many run as there are threads."""
    terms = terms_of(
        adapter(max_connections=5, threads=5, queue_capacity=7, queue_timeout_seconds=2.0),
        Servant.of("Demo.PyServer.AObj", Plain()),
        2,
    )
    limits = terms.limits
    assert (limits.connections, terms.threads, limits.concurrency) == (3, 3, 3)
    assert (limits.queue, limits.queue_seconds) == (7, 2.0)
    mixed = terms_of(adapter(threads=1), Servant.of("Demo.PyServer.AObj", Mixed()), 1)
    assert mixed.limits.concurrency > 1


def test_access_in_the_order_of_the_file() -> None:
    """`deny,allow` looks at deny first."""
    lists = {"allow": ("10.*",), "deny": ("10.0.0.1",)}
    servant = Servant.of("Demo.PyServer.AObj", Plain())
    assert terms_of(adapter(**lists), servant).access.allows("10.0.0.1")
    assert not terms_of(adapter(**lists, order=("deny", "allow")), servant).access.allows("10.0.0.1")


def test_certificates_of_an_ssl_endpoint(tmp_path: Path) -> None:
    """They come from the adapter's keys, or those of the server; without, or with wrong ones, the adapter is named."""
    servant = Servant.of("Demo.PyServer.AObj", Plain())
    ssl = replace(adapter().endpoint, protocol="ssl")
    with pytest.raises(ConfigurationError, match="AObjAdapter: an ssl endpoint needs the keys cert and key"):
        terms_of(adapter(endpoint=ssl), servant)
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    with pytest.raises(
        ConfigurationError, match=r"AObjAdapter: the certificates cannot be used .*wrong\.pem"
    ):
        terms_of(adapter(endpoint=ssl, tls=TlsFiles(cert=str(wrong), key=str(wrong))), servant)
    right = TlsFiles(cert=str(CERTIFICATES / "certificate.pem"), key=str(CERTIFICATES / "key.pem"))
    assert terms_of(adapter(endpoint=ssl, tls=right), servant).tls is not None
    assert terms_of(adapter(tls=right), servant).tls is None


class Operations:
    """A parent process that does nothing but answer."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.wrong = False

    def shutdown(self) -> None:
        self.done.append("shutdown")

    def replace_processes(self, why: str) -> None:
        self.done.append(why)

    def check_configuration(self) -> None:
        if self.wrong:
            raise ConfigurationError("/tars/application/server<app>", "is missing")

    def status(self) -> str:
        return "status"

    def versions(self) -> str:
        return "$skerry 1$"

    def code(self) -> str:
        return "code 1"

    def workers(self) -> str:
        return "worker-1: ready"

    def custom_commands(self) -> list[str]:
        return ["own"]

    async def ask(self, command: str) -> dict[str, str | None]:
        return {"worker-1 (pid 1)": f"did {command}", "worker-2 (pid 2)": None}

    def report(self, message: str) -> None:
        self.done.append(message)


async def test_answers_to_the_web_page() -> None:
    """In TarsCpp's frame: one entry for the parent's own, one for each process else; a silent process is named."""
    operations = Operations()
    admin = AdminServant(operations, 17)
    assert await admin.getPid() == 17
    assert await admin.notify("tars.viewversion") == "[notify prefix object num:1]\n[1]:$skerry 1$\n"
    assert await admin.notify("own now") == framed(
        [
            "worker-1 (pid 1): did own now",
            "worker-2 (pid 2): does not answer; its stacks are in the log",
        ]
    )
    assert "there is no command 'other'" in await admin.notify("other")
    assert "own: of this service" in await admin.notify("tars.help")
    operations.wrong = True
    assert "nothing was changed: /tars" in await admin.notify("tars.loadproperty")
    operations.wrong = False
    await admin.notify("tars.reloadlocator reload")
    await admin.notify("tars.gracerestart")
    await admin.shutdown()
    done = [each for each in operations.done if not each.startswith("AdminServant")]
    assert done == ["tars.loadproperty", "tars.gracerestart", "shutdown"]
    assert operations.done[0] == "AdminServant::notify:tars.viewversion"


def test_a_configuration_keeps_its_adapters() -> None:
    """What the double of the node writes is read by the service as it was meant."""
    made = configuration_for("PyServer", ["AObj"], web=["WebObj"])
    assert Configuration.parse(made.text()) == made
    assert [each.protocol for each in made.adapters] == ["tars", "not_tars"]
