"""The values that every peer serves: keys of 28 bytes, values of 64 bytes."""

from __future__ import annotations

import os

POSITION = "0badcafe:1000000"


def values() -> dict[str, str]:
    """As many as the environment says in KEYS."""
    return {f"benchmark-key-{number:014d}": "v" * 64 for number in range(int(os.environ.get("KEYS", "1000")))}
