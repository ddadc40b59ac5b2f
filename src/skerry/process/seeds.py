"""Generators of random numbers of a process that is forked: each copy has to go on with other numbers.

The functions of `random` are seeded anew by that module itself. A `random.Random()` that an application makes while it
is imported is noted, unless it is given a seed: then its numbers are meant to be the same everywhere.
"""

from __future__ import annotations

import random
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Seeds:
    """Generators that were seeded by chance while `noting`."""

    def __init__(self) -> None:
        self._by_chance: weakref.WeakSet[random.Random] = weakref.WeakSet()

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note them meanwhile."""
        original: Any = random.Random.seed
        by_chance = self._by_chance

        def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
            original(self, a, version)
            (by_chance.add if a is None else by_chance.discard)(self)

        random.Random.seed = seed  # type: ignore[method-assign]
        try:
            yield
        finally:
            random.Random.seed = original  # type: ignore[method-assign]

    def anew(self) -> None:
        """In a copy of the process: seed them, and the global generator of numpy, where it is used."""
        for each in list(self._by_chance):
            each.seed()
        numpy: Any = sys.modules.get("numpy.random")
        if numpy is not None:
            numpy.seed()
