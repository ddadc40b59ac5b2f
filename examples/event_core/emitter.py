"""Listeners, counting, typed events and errors that stay apart. Run: `python examples/event_core/emitter.py`.

Expected output:

    order 7 for ann
    first order only
    third order: cy
    shipped 7
    1 listener failed, 1 was called all the same
    waited for: ('closed',)
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from skerry.emitter import EventEmitter


@dataclass(frozen=True)
class Shipped:
    order: int


def main() -> None:
    shop = EventEmitter()
    handle = shop.on("order", lambda number, who: print(f"order {number} for {who}"))
    shop.once("order", lambda number, who: print("first order only"))
    shop.delay_once("order", 2, lambda number, who: print(f"third order: {who}"))
    shop.emit("order", 7, "ann")
    handle.cancel()
    shop.emit("order", 8, "bob")
    shop.emit("order", 9, "cy")

    @shop.on(Shipped)
    def tell(event: Shipped) -> None:
        print(f"shipped {event.order}")

    shop.emit(Shipped(7))

    called: list[str] = []
    shop.on("audit", lambda: 1 / 0)
    shop.on("audit", lambda: called.append("called"))
    try:
        shop.emit("audit")
    except* ZeroDivisionError as group:
        print(f"{len(group.exceptions)} listener failed, {len(called)} was called all the same")

    asyncio.run(waiting(shop))


async def waiting(shop: EventEmitter) -> None:
    asyncio.get_running_loop().call_soon(shop.emit, "state", "closed")
    print("waited for:", await shop.wait_for("state", timeout=5.0))


if __name__ == "__main__":
    main()
