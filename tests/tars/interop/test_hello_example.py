"""examples/tars_hello: a service in ten lines answers the Python client and the JavaScript client."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "tars_hello"
ENDPOINT = "tcp -h 127.0.0.1 -p 0 -t 60000"
SAYS = ["Hello world!", "1 Hello Tars! 4"]


@pytest.fixture
def server() -> Iterator[str]:
    """The example's server as a process of its own: its endpoint. It ends cleanly at SIGINT."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE / "server.py"), ENDPOINT], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("Demo.HelloServer.HelloObj@tcp -h 127.0.0.1 -p ")
        yield address.partition("@")[2]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def test_the_python_client(server: str) -> None:
    """client.py prints both greetings."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "client.py"), server],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == SAYS


@pytest.mark.service("node")
def test_the_javascript_client(server: str, peers: dict[str, str]) -> None:
    """A client in the other language prints the same."""
    script = Path(__file__).parent / "js" / "hello_client.js"
    done = subprocess.run(
        ["node", "--no-warnings", "--no-deprecation", str(script), server],
        env=peers,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.splitlines() == SAYS, done.stderr
