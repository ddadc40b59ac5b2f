"""The Prefer field (RFC 7240): how long a client would wait, and whether 202 will do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.http.headers import Headers


@dataclass(frozen=True, slots=True)
class Prefer:
    """The `Prefer` field of a request: `wait_seconds` is None when the field does not have it."""

    wait_seconds: float | None = None
    respond_async: bool = False

    def wait(self, default: float, most: float) -> float:
        """Seconds to wait: the requested ones, within 0 and `most`, or the default."""
        return default if self.wait_seconds is None else min(self.wait_seconds, most)

    @classmethod
    def of(cls, headers: Headers) -> Prefer:
        """Read the field; the first of a name counts and what is not understood is ignored (section 2)."""
        value = headers.get("prefer")
        if value is None:
            return NOTHING
        wait: float | None = None
        respond_async = False
        for part in value.split(","):
            name, _, given = part.partition(";")[0].partition("=")
            match name.strip().lower():
                case "wait" if wait is None:
                    digits = given.strip().strip('"')
                    if digits.isascii() and digits.isdigit() and len(digits) < 10:
                        wait = float(digits)
                case "respond-async":
                    respond_async = True
        return cls(wait, respond_async)


NOTHING = Prefer()
