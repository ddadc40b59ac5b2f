"""What `ps` and `top` show of a process that was forked: the command line that it would have had.

The kernel shows the memory in which the arguments of the first program were. So a fork server is given arguments that
are long enough, and its children write theirs over them. Where that cannot be found (another system) nothing is done.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path

ROOM = "." * 200
"""An argument that makes room for longer titles."""


def set_title(arguments: Sequence[str]) -> None:
    """Show these as this process's arguments, as far as there is room."""
    if sys.platform != "linux":
        return
    try:
        # The name of the program, in parentheses, may have spaces; 48 and 49 of proc(5) are the limits.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        shown = Path("/proc/self/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return
    if not start or end - start != len(shown):
        return
    text = b"\0".join(argument.encode() for argument in arguments)[: len(shown) - 1]
    ctypes.memmove(start, text.ljust(len(shown), b"\0"), len(shown))
