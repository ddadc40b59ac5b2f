"""Logs can be read: by people on a terminal, by machines elsewhere; and no record is ever lost to its form."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from skerry.kernel.logs import JsonFormatter, TextFormatter, configure_logs, keep_logs

logger = logging.getLogger("skerry.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in ("asyncio", "aiormq", "aio_pika", "uvicorn")}
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)


def record(message: str = "hello %s", *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("skerry.test", logging.WARNING, "x.py", 1, message, args or ("you",), None)
    made.created, made.msecs = 1_700_000_000.25, 250.0
    vars(made).update(extra)
    return made


def test_a_line_of_json() -> None:
    """One object: RFC 3339 time in UTC, level, logger, process, message and whatever was given as extra."""
    found = json.loads(JsonFormatter("server-1").format(record(request_id="r1", bytes=12)))
    assert found == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "skerry.test",
        "process": "server-1",
        "message": "hello you",
        "request_id": "r1",
        "bytes": 12,
    }


def test_extra_fields_cannot_pretend_to_be_the_record() -> None:
    """A field named like one of ours does not replace it."""
    found = json.loads(
        JsonFormatter("server-1").format(record(level="info", time="never", process="x", logger="y"))
    )
    assert (found["level"], found["logger"], found["process"]) == ("warning", "skerry.test", "server-1")
    assert found["time"].startswith("2023-")


@pytest.mark.parametrize(
    "odd",
    ["a\nb", '"quoted"', "ü😀", "\ud800", "\x00", float("nan"), {1: {2}}, object(), b"\xff", {(1, 2): 3}],
)
def test_anything_becomes_one_line_that_can_be_written(odd: Any) -> None:
    """Line ends, broken Unicode, objects: one line of UTF-8 that a JSON reader takes, never an exception."""
    line = JsonFormatter().format(record("%s", str(odd), odd=odd))
    assert "\n" not in line
    line.encode("utf-8")
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    text = TextFormatter().format(record("%s", str(odd), odd=odd))
    text.encode("utf-8")


def test_an_exception_stands_in_its_record() -> None:
    """With its traceback: in the same JSON line, below the text line."""
    try:
        raise ValueError("wrong")
    except ValueError as error:
        failed = logging.LogRecord(
            "x", logging.ERROR, "x.py", 1, "failed", (), (type(error), error, error.__traceback__)
        )
    found = json.loads(JsonFormatter().format(failed))
    assert found["message"] == "failed"
    assert "ValueError: wrong" in found["exception"]
    assert "Traceback" in found["exception"]
    assert "ValueError: wrong" in TextFormatter().format(failed)


def test_a_line_for_people() -> None:
    """Time, level, process, message, then the extra fields; colours only where asked for."""
    plain = TextFormatter("server-1").format(record(request_id="r1"))
    assert plain.endswith(" warning server-1 hello you  request_id=r1")
    assert "\x1b" not in plain
    assert "\x1b[33mwarning\x1b[0m" in TextFormatter(colours=True).format(record())


@pytest.mark.parametrize(("format", "terminal", "is_json"), [
    ("auto", True, False), ("auto", False, True), ("text", False, False), ("json", True, True),
])  # fmt: skip
def test_the_form_follows_the_stream(format: str, terminal: bool, is_json: bool) -> None:
    """Readable on a terminal, JSON elsewhere, unless it is said."""
    stream = Terminal() if terminal else io.StringIO()
    configure_logs(format, "info", "p", stream)
    logger.info("hello")
    assert stream.getvalue().startswith("{") is is_json


def test_levels_and_libraries() -> None:
    """Below the level nothing is written; libraries that chatter are heard from `warning` on; Python's warnings too."""
    stream = io.StringIO()
    configure_logs("json", "warning", "", stream)
    logger.info("quiet")
    logging.getLogger("asyncio").info("quiet")
    assert stream.getvalue() == ""
    configure_logs("json", "debug", "", stream)
    logger.debug("heard")
    logging.getLogger("asyncio").debug("quiet")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    found = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert found[0] == "heard"
    assert "DeprecationWarning: old" in found[1]
    assert len(found) == 2


def test_configured_twice_a_record_is_written_once() -> None:
    """The last call counts, whole."""
    first, second = io.StringIO(), io.StringIO()
    configure_logs("text", "info", "", first)
    configure_logs("text", "info", "", second)
    logger.info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


async def test_a_task_does_not_show_as_extra() -> None:
    """What logging itself adds (the task's name) is not taken for a field of ours."""
    stream = io.StringIO()
    configure_logs("json", "info", "", stream)
    await asyncio.create_task(_log(), name="some task")
    assert set(json.loads(stream.getvalue())) == {"time", "level", "logger", "message"}


async def _log() -> None:
    logger.info("from a task")


def test_no_client_can_write_a_record_of_its_own() -> None:
    """Line ends and commands of a terminal in what is logged do not look like a record, nor do they move a cursor."""
    formatter = TextFormatter()
    said = "GET /a\n12:00:00.000 error   forged\r\x1b[2Kgone\u2028end"
    record = logging.makeLogRecord({"msg": "%s", "args": (said,), "levelname": "INFO", "request_id": "x\ny"})
    first, *rest = formatter.format(record).split("\n")
    assert first.endswith("GET /a")
    assert rest == ["  12:00:00.000 error   forged\\x0d\\x1b[2Kgone\\x2028end  request_id=x", "  y"]
    try:
        raise ValueError("bad\n12:00:00.000 error   forged")
    except ValueError as error:
        record = logging.makeLogRecord({"msg": "m", "exc_info": (ValueError, error, error.__traceback__)})
    lines = formatter.format(record).split("\n")
    assert all(line.startswith("  ") for line in lines[1:])


def test_what_an_application_writes_to_the_console_itself_is_written_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Django does while DEBUG is on. A handler without a format gives way to ours; of one with a format ours leaves
    the records out, from its level on; a logger that goes no further is not ours to hear."""
    stream, console = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stderr", console)
    configure_logs("json", "info", "", stream)

    def own(name: str, format: str, level: int = logging.NOTSET) -> logging.Logger:
        found = logging.getLogger(name)
        handler = logging.StreamHandler()
        handler.setLevel(level)
        if format:
            handler.setFormatter(logging.Formatter(format))
        found.addHandler(handler)
        return found

    plain, formatted, apart = (
        own("once.plain", ""), own("once.formatted", "own: %(message)s", logging.WARNING), own("once.apart", ""),
    )  # fmt: skip
    apart.propagate = False
    for _ in range(2):  # once when it was imported, once when it is opened
        keep_logs()
    for each in (plain, formatted, apart):
        each.getChild("child").info("a page")
        each.warning("no page")
    heard = [(line["logger"], line["message"]) for line in map(json.loads, stream.getvalue().splitlines())]
    assert heard == [
        ("once.plain.child", "a page"), ("once.plain", "no page"), ("once.formatted.child", "a page"),
    ]  # fmt: skip
    assert console.getvalue().splitlines() == ["own: no page", "a page", "no page"]
