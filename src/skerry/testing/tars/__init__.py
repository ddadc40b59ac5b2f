"""The Tars platform in a test: its services as doubles with real semantics, in a thread of their own.

`tars_platform` is a fixture: import it into a `conftest.py`. Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.testing.tars.fixture import tars_platform as tars_platform
    from skerry.testing.tars.node import FakeNode as FakeNode
    from skerry.testing.tars.platform import TarsPlatform as TarsPlatform

_HOME = {
    "FakeNode": "skerry.testing.tars.node",
    "TarsPlatform": "skerry.testing.tars.platform",
    "tars_platform": "skerry.testing.tars.fixture",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
