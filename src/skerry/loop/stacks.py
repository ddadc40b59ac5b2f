"""Stacks for people: from the application's own code on, without the way there.

How a call came to the application, through the interpreter's start, the command line, the event loop and Skerry, helps
nobody who looks for what it does. Pure.
"""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path
from types import FrameType, TracebackType

_SKERRY = str(Path(__file__).parents[1])
PLACES = tuple(
    os.path.join(path, "")
    for path in {
        *(sysconfig.get_path(kind) or "" for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
        _SKERRY,
    }
    if path
)
"""Where code lies that is not the application's: Python's own, what was installed, Skerry."""
LAST_FRAMES = 2
"""What is shown of a stack without a frame of the application."""


def is_application(file: str) -> bool:
    """Whether the code of that file is the application's."""
    return not (file.startswith(PLACES) or file.startswith("<frozen") or not os.path.isabs(file))


def stack_of(frame: FrameType) -> str:
    """The stack that ends in `frame`, from the application's first frame on."""
    frames = traceback.extract_stack(frame)
    first = next((at for at, each in enumerate(frames) if is_application(each.filename)), None)
    return "".join(
        traceback.StackSummary.from_list(frames[-LAST_FRAMES:] if first is None else frames[first:]).format()
    )


def from_application(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from the application's first frame on; as it is when there is none."""
    at = trace
    while at is not None and not is_application(at.tb_frame.f_code.co_filename):
        at = at.tb_next
    return trace if at is None else at
