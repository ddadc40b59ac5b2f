"""A Tars platform for roles that want one."""

from __future__ import annotations

from skerry.testing.tars import tars_platform

__all__ = ["tars_platform"]
