"""livekv: a live key/value store, the reference application of Skerry. `skerry run livekv:app`."""

from livekv.app import app

__all__ = ["app"]
