"""What all tests share: services that are there or are said to be missing, and the same examples everywhere."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("skerry.testing")  # the suites that backends inherit say what differs

from skerry.kernel import logs  # noqa: E402 - after that
from skerry.testing.broker import PrivateBroker  # noqa: E402
from skerry.testing.services import PrivatePostgres, private_postgres, require  # noqa: E402

# A shell that runs the tests in the background has SIGINT ignored, and whatever they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow moment of the machine fails no property, and a run tries the same examples as the run before it.
settings.register_profile(
    "skerry", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("skerry")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Directories of tests have short names: many hold sockets, whose whole path has room for 103 bytes."""
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.option.basetemp = tempfile.mkdtemp(prefix="sk-", dir="/tmp")


@pytest.fixture(autouse=True)
def logs_of_one_test() -> Iterator[None]:
    """How a test configures the logs holds until its end: a server that a later test starts would keep them so."""
    ours = logging.getLogger("skerry")
    before = ours.handlers[:], ours.propagate, ours.level
    yield
    if logs._own:
        logs._own.clear()
        ours.handlers[:], ours.propagate, _ = before
        ours.setLevel(before[2])


@pytest.fixture(autouse=True)
def variables_of_one_test() -> Iterator[None]:
    """SKERRY_ variables end with the test that sets them: a command that runs in this process takes those of a `.env`
    over into its environment."""
    before = {name: value for name, value in os.environ.items() if name.startswith("SKERRY_")}
    yield
    for name in [name for name in os.environ if name.startswith("SKERRY_") and name not in before]:
        del os.environ[name]
    os.environ.update(before)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked with a service runs only where it is installed; elsewhere it is skipped loudly (CI: it fails)."""
    for mark in item.iter_markers("service"):
        require(mark.args[0])


@pytest.fixture
def no_app_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No App of another test runs in this process: what it says of events would count for those of this test."""
    monkeypatch.setattr("skerry.bridge.site._sites", [])


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that nobody has signed, and its key."""
    require("openssl")
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return cert, key


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A running broker for tests that only need one: each takes a namespace of its own, and lets it live."""
    require("rabbitmq")
    broker = PrivateBroker(tmp_path_factory.mktemp("rabbitmq"))
    with asyncio.Runner() as runner:
        try:
            runner.run(broker.start())
            yield broker
        finally:
            runner.run(broker.discard())


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PrivatePostgres]:
    """A running database server for tests that only need one: each takes a database or namespace of its own."""
    require("postgresql")
    with private_postgres() as server:
        yield server
