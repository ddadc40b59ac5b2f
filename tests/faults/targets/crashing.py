"""livekv whose consumer ends, or hangs, where SKERRY_FAULT says."""

from __future__ import annotations

from livekv.app import app
from skerry.testing.faultpoints import install

install()

__all__ = ["app"]
