"""The services that only take things in: log, statistics, properties, notes. Each keeps the newest 10,000.

`LogCenter.text()`, `StatCenter.totals()` and `PropertyCenter.values()` read it as a test or a page wants it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skerry.tars.platform.interfaces import interfaces

LOG: Any = interfaces("LogF")
STAT: Any = interfaces("StatF")
PROPERTY: Any = interfaces("PropertyF")
NOTIFY: Any = interfaces("NotifyF")
KEPT = 10_000


@dataclass(frozen=True, slots=True)
class LogBatch:
    """The lines of one call. `file` is empty for the main log; `kind` is the log's type (`day`, `1hour`), empty when
    the caller did not say."""

    app: str
    server: str
    file: str
    format: str
    kind: str
    set_division: str
    lines: tuple[str, ...]


class LogCenter(LOG.Log):  # type: ignore[misc]
    """Remote logs."""

    def __init__(self) -> None:
        self.batches: deque[LogBatch] = deque(maxlen=KEPT)

    async def logger(self, app: str, server: str, file: str, format: str, buffer: list[str]) -> None:
        self.batches.append(LogBatch(app, server, file, format, "", "", tuple(buffer)))

    async def loggerbyInfo(self, info: Any, buffer: list[str]) -> None:  # noqa: N802
        self.batches.append(
            LogBatch(
                info.appname,
                info.servername,
                info.sFilename,
                info.sFormat,
                info.sLogType,
                info.setdivision,
                tuple(buffer),
            )
        )

    def text(self, file: str = "", module: str = "") -> str:
        """The lines of one log, of one server when `module` (`App.Server`) is given."""
        return "".join(
            "".join(each.lines)
            for each in tuple(self.batches)
            if each.file == file and module in ("", f"{each.app}.{each.server}")
        )


@dataclass(frozen=True, slots=True)
class Total:
    """Calls of one function, added up. Times in milliseconds."""

    succeeded: int = 0
    timed_out: int = 0
    failed: int = 0
    milliseconds: int = 0


class StatCenter(STAT.StatF):  # type: ignore[misc]
    """Call statistics: `entries` are (StatMicMsgHead, StatMicMsgBody, whether the caller reports)."""

    def __init__(self) -> None:
        self.entries: deque[tuple[Any, Any, bool]] = deque(maxlen=KEPT)
        self.reports = 0

    async def reportMicMsg(self, msg: Mapping[Any, Any], bFromClient: bool) -> int:  # noqa: N802, N803
        self.reports += 1
        self.entries.extend((head, body, bFromClient) for head, body in msg.items())
        return 0

    async def reportSampleMsg(self, msg: list[Any]) -> int:  # noqa: N802
        return 0

    def totals(self, from_client: bool, slave: str = "") -> dict[str, Total]:
        """By function (or route), as callers reported it or as servers did; of one called server with `slave`."""
        found: dict[str, Total] = {}
        for head, body, client in tuple(self.entries):
            if client is not from_client or slave not in ("", head.slaveName):
                continue
            old = found.get(head.interfaceName, Total())
            found[head.interfaceName] = Total(
                old.succeeded + body.count,
                old.timed_out + body.timeoutCount,
                old.failed + body.execCount,
                old.milliseconds + body.totalRspTime,
            )
        return found


class PropertyCenter(PROPERTY.PropertyF):  # type: ignore[misc]
    """Properties: `entries` are (StatPropMsgHead, {policy: value})."""

    def __init__(self) -> None:
        self.entries: deque[tuple[Any, dict[str, str]]] = deque(maxlen=KEPT)
        self.reports = 0

    async def reportPropMsg(self, statmsg: Mapping[Any, Any]) -> int:  # noqa: N802
        self.reports += 1
        self.entries.extend(
            (head, {each.policy: each.value for each in body.vInfo}) for head, body in statmsg.items()
        )
        return 0

    def values(self, module: str = "") -> dict[str, dict[str, str]]:
        """The newest values by property name, of one server with `module`."""
        return {
            head.propertyName: policies
            for head, policies in tuple(self.entries)
            if module in ("", head.moduleName)
        }


class NotifyCenter(NOTIFY.Notify):  # type: ignore[misc]
    """Messages for people: `notes` are ReportInfo."""

    def __init__(self) -> None:
        self.notes: deque[Any] = deque(maxlen=KEPT)

    async def reportNotifyInfo(self, info: Any) -> None:  # noqa: N802
        self.notes.append(info)

    def messages(self, module: str = "") -> list[str]:
        """Their texts, of one server with `module`."""
        return [each.sMessage for each in tuple(self.notes) if module in ("", f"{each.sApp}.{each.sServer}")]
