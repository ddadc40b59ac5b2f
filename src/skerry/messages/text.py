"""Text that every database holds: no U+0000, no half of a surrogate pair. For words about messages (reasons, details),
which may be cut and changed; what a message itself says is refused instead (see `skerry.backends.storable`)."""

from __future__ import annotations


def storable(text: str, most: int = 2000) -> str:
    """The first `most` characters of a text, with `\\0` and `\\ud800` written out."""
    return text[:most].replace("\x00", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")
