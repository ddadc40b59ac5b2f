"""Fault isolation: which endpoints a client leaves alone for a while.

Decides, and does nothing else: it is told of successes, failures and the time. The client asks whether it is `blocked`
before it picks, and reports how a call ended. What counts as a failure: a time-out and a connection that
cannot be made or broke; an answer with a return code other than 0 only where the policy `counts_codes`.

A blocked endpoint is passed over. Once its retry time has come it is tried in the background (`trial_due`): success
opens it again, failure blocks it anew; no caller's request is spent on that.

Presets: `CPP` is TarsCpp 3.0.22, `CLASSIC` what Tars.js and TarsGo do. They differ much: a client of the first
leaves a server after one failure for 5 s, one of the second after two failures out of at most four for 30 s. TarsCpp
counts *every* return code other than 0 as a failure (`AdapterProxy::finishInvoke`): a servant that answers one of its
C++ callers with a code is left alone by that caller. Business errors belong into the return value.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FaultPolicy:
    """When an endpoint is blocked; times in seconds.

    Within `window_seconds`: at least `minimum_failures` and at least `ratio` of the calls failed. Or
    `consecutive` failures in a row within `consecutive_seconds`. Or `connection_failures` connects in a row.
    `counts_codes`: an answer with a return code other than 0 is a failure too.
    """

    window_seconds: float = 60.0
    minimum_failures: int = 2
    ratio: float = 0.5
    consecutive: int = 5
    consecutive_seconds: float = 5.0
    connection_failures: int = 1
    retry_seconds: float = 30.0
    counts_codes: bool = False
    enabled: bool = True


CPP = FaultPolicy(
    window_seconds=5.0,
    minimum_failures=1,
    ratio=0.05,
    consecutive=1,
    consecutive_seconds=3.0,
    connection_failures=1,
    retry_seconds=5.0,
    counts_codes=True,
)
CLASSIC = FaultPolicy()
NEVER = FaultPolicy(enabled=False)


@dataclass(slots=True)
class EndpointHealth:
    """What is known about one endpoint. All methods take `now`, seconds on one monotonic scale."""

    policy: FaultPolicy
    blocked_until: float | None = None
    _trial: bool = False
    _window_start: float = float("-inf")
    _calls: int = 0
    _failures: int = 0
    _connect_failures: int = 0
    _row: deque[float] = field(default_factory=deque)

    @property
    def blocked(self) -> bool:
        """Whether calls are to go elsewhere."""
        return self.blocked_until is not None

    def trial_due(self, now: float) -> bool:
        """Whether it is blocked, its retry time has come, and no trial is in progress."""
        return self.blocked_until is not None and now >= self.blocked_until and not self._trial

    def started(self) -> None:
        """A trial, or a call for want of a better endpoint, goes there. While blocked: no other trial until it ends."""
        if self.blocked_until is not None:
            self._trial = True

    def abandoned(self) -> None:
        """A call ended without telling anything about the endpoint (the caller cancelled it)."""
        self._trial = False

    def succeeded(self, now: float) -> None:
        """An answer came."""
        if self._trial or self.blocked_until is not None:
            self.blocked_until, self._trial = None, False
            self._forget(now)
        self._connect_failures = 0
        if self._row:
            self._row.clear()
        if now - self._window_start >= self.policy.window_seconds:
            self._forget(now)
        self._calls += 1

    def failed(self, now: float, *, connecting: bool = False) -> None:
        """A call timed out or its connection broke; `connecting` when no connection could be made at all."""
        policy = self.policy
        if not policy.enabled:
            return
        if now - self._window_start >= policy.window_seconds:
            self._forget(now)
        self._calls += 1
        self._failures += 1
        self._row.append(now)
        while len(self._row) > policy.consecutive:
            self._row.popleft()
        if connecting:
            self._connect_failures += 1
        if self._trial or self._too_much(now):
            self.blocked_until = now + policy.retry_seconds
            self._trial = False

    def _too_much(self, now: float) -> bool:
        policy = self.policy
        if self._connect_failures >= policy.connection_failures:
            return True
        row = self._row
        if len(row) >= policy.consecutive and now - row[0] <= policy.consecutive_seconds:
            return True
        return self._failures >= policy.minimum_failures and self._failures >= policy.ratio * self._calls

    def _forget(self, now: float) -> None:
        self._window_start, self._calls, self._failures = now, 0, 0
