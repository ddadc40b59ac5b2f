"""One branch of the error tree: everything that Tars raises on purpose.

TarsError
├── DecodeError      bytes that are no valid value; `position` is the byte where reading stopped
│   └── FrameError   the length in front of a packet is out of range: the connection is beyond repair
├── EncodeError      a value that does not fit its type; `path` names the member
└── IdlError         a `.tars` file that says something impossible; `file`, `line`, `column`, `expected`

What a call can raise (return codes, time-outs, endpoints) stands with the calls, not here.
"""

from __future__ import annotations

from skerry.errors import SkerryError


class TarsError(SkerryError):
    """The base of all errors of `skerry.tars`."""


class DecodeError(TarsError):
    """Bytes that are not a valid value of the expected type.

    `position` is the offset in the bytes that were handed in, `where` the member that was being read
    (empty when it is not known).
    """

    def __init__(self, problem: str, position: int, where: str = "") -> None:
        super().__init__(
            f"{where}: {problem} at byte {position}" if where else f"{problem} at byte {position}"
        )
        self.problem, self.position, self.where = problem, position, where

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, int, str]]:
        return type(self), (self.problem, self.position, self.where)


class FrameError(DecodeError):
    """The frame length is out of range, so later frames cannot be found: close the connection."""


class EncodeError(TarsError):
    """A value that does not fit its declared type. `path` says where, as `demo.User.friends[3].name`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem

    def __reduce__(self) -> tuple[type[EncodeError], tuple[str, str]]:
        return type(self), (self.path, self.problem)


class IdlError(TarsError):
    """A `.tars` file that cannot be read. Lines and columns count from 1; `expected` may be empty."""

    def __init__(self, problem: str, file: str, line: int, column: int, expected: str = "") -> None:
        hint = f", expected {expected}" if expected else ""
        super().__init__(f"{file}:{line}:{column}: {problem}{hint}")
        self.problem, self.file, self.line, self.column, self.expected = problem, file, line, column, expected

    def __reduce__(self) -> tuple[type[IdlError], tuple[str, str, int, int, str]]:
        return type(self), (self.problem, self.file, self.line, self.column, self.expected)
