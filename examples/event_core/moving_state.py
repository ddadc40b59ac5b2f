"""Work moves from one loop to another, with the time that remains. Run: `python examples/event_core/moving_state.py`.

Expected output:

    first loop: 2 ticks, 1 timer
    exported
    second loop: 2 ticks, 1 timer
    tick 1
    tick 2
    timer, as much later as remained
"""

from __future__ import annotations

from skerry import Loop


def show(name: str, loop: Loop) -> None:
    count = loop.interests.count()
    print(f"{name}: {count.tick} ticks, {count.timers} timer")


def main() -> None:
    first, second = Loop(model="asyncio"), Loop()
    first.on_tick(lambda: print("tick 1"))
    first.on_tick(lambda: print("tick 2"))
    first.add_timer(0.02, lambda: print("timer, as much later as remained"))
    show("first loop", first)
    first.export_to(second, everything=True)
    print("exported")
    show("second loop", second)
    first.run(until_idle=True)  # has nothing left to do
    second.run(until_idle=True)


if __name__ == "__main__":
    main()
