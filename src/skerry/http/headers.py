"""The header fields of one request, as received. Immutable, names in lower case, looked up without regard to case.

Whether the fields are well formed was decided by `server`; here they are only read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from skerry.http.identity import Remembered

POSITION = b"skerry-position"
CONDITIONAL = frozenset({b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"})


class Headers:
    """Field lines in the order of arrival.

    `raw` holds (lower-case name, value) as bytes; `conditional` tells whether any precondition field is there
    (RFC 9110 section 13.1), `positioned` whether a `Skerry-Position` is; `remembered` who these fields have proved.
    Indexing is put off until somebody asks for a field. `foreign`: the lines as applications that are not ours get them
    (`scope.foreign_headers`), once one did.
    """

    __slots__ = ("_index", "conditional", "foreign", "positioned", "raw", "remembered")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.raw = raw
        self.conditional = self.positioned = False
        self.remembered: Remembered | None = None
        self.foreign: list[tuple[bytes, bytes]] | None = None
        self._index: dict[str, str] | None = None
        for name, _ in raw:
            if name in CONDITIONAL:
                self.conditional = True
            elif name == POSITION:
                self.positioned = True

    def get(self, name: str, default: str | None = None) -> str | None:
        """The field's value; lines of the same name are joined with ", " (RFC 9110 section 5.3)."""
        index = self._index
        if index is None:
            index = self._indexed()
        found = index.get(name)
        if found is None:
            lower = name.lower()
            return default if lower == name else index.get(lower, default)
        return found

    def get_all(self, name: str) -> list[str]:
        """Every line of that name, in order."""
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for key, value in self.raw if key == wanted]

    def _indexed(self) -> dict[str, str]:
        index: dict[str, str] = {}
        for key, value in self.raw:
            name, text = key.decode("latin-1"), value.decode("latin-1")
            if name in index:
                # Cookie is the one field that joins with "; " (RFC 6265 allows one line, HTTP/2 splits it).
                text = index[name] + ("; " if name == "cookie" else ", ") + text
            index[name] = text
        self._index = index
        return index

    def __getitem__(self, name: str) -> str:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((key.decode("latin-1"), value.decode("latin-1")) for key, value in self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def __repr__(self) -> str:
        shown = [name for name, _ in self]
        return f"Headers({', '.join(shown)})"  # no values: they hold tokens and cookies
