"""What the writers of encoders and decoders need of the text that they write into.

A `Source` collects lines, gives objects a name there, and owes the functions of the types that are mentioned.
`wire/codec.py` has the one that is executed. Not for: what is written (`wire/encoder.py`, `wire/decoder.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from skerry.tars.errors import EncodeError
from skerry.tars.wire.types import Map, Member, StructType, Vector


class Source(Protocol):
    """Generated text while it grows."""

    def line(self, text: str) -> None:
        """Add a line."""
        ...

    def constant(self, value: Any, prefix: str) -> str:
        """The name under which the text finds this object."""
        ...

    def explainer(
        self, members: Sequence[Member], label: str
    ) -> Callable[[tuple[Any, ...], Exception], EncodeError]:
        """Turns what an encoder raised into an EncodeError that names the member."""
        ...

    def struct_encoder(self, kind: StructType) -> str:
        """The name of the function that encodes a struct; so the other three."""
        ...

    def struct_decoder(self, kind: StructType) -> str: ...

    def container_encoder(self, kind: Vector | Map) -> str: ...

    def container_decoder(self, kind: Vector | Map) -> str: ...
