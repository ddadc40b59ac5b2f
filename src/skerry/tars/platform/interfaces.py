"""The interfaces of the platform's services, as classes: `interfaces("StatF").StatMicMsgHead`.

The `.tars` files stand in `idl/`; clients and doubles are made of them when they are imported, none by hand.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from skerry.tars.idl.loader import load

FOLDER = Path(__file__).parent / "idl"


@lru_cache(maxsize=32)
def interfaces(file: str) -> Any:
    """What `idl/FILE.tars` declares in module `tars`."""
    return load(FOLDER / f"{file}.tars").tars
