"""What a transport tells: hints and announcements to every process, answers to one.

A part of `skerry.testing.transports.TransportSuite`, which inherits it; not to be used alone.
"""

from __future__ import annotations

import asyncio

import msgspec

from skerry.bus.transport import Announcement
from skerry.journal.hints import Hint, tip
from skerry.journal.journal import Outcome, Status
from skerry.position import Position
from skerry.testing.transport_samples import World, record, started, until


class TellingSuite:
    """Needs the fixture `world` of `TransportSuite`."""

    async def test_every_process_hears_hints(self, world: World) -> None:
        """A hint reaches every process, the publisher too, once, whole and in order."""
        left, right = world.endpoint(), world.endpoint()
        heard: dict[str, list[Hint]] = {"left": [], "right": []}
        async with started(left, right):
            left.subscribe(heard["left"].append)
            right.subscribe(heard["right"].append)
            hints = [Hint("e", n, n, [record(n)], f"before {n}") for n in range(1, 51)]
            hints.append(tip(Position("e", 50), "of 50"))
            for hint in hints:
                left.publish(hint)
            await until(lambda: all(len(h) >= 51 for h in heard.values()))
            assert heard == {"left": hints, "right": hints}

    async def test_a_large_hint_arrives_in_parts_or_as_positions(self, world: World) -> None:
        """A hint of any size is heard: parts are contiguous and cover it, with their records or without, and each tells
        whose event stands before it."""
        process = world.endpoint()
        heard: list[Hint] = []
        async with started(process):
            process.subscribe(heard.append)
            process.publish(Hint("e", 1, 40, [record(n, 20_000) for n in range(1, 41)], record(0).command_id))
            process.publish(Hint("e", 41, 41, [record(41, 600_000)], record(40).command_id))
            await until(lambda: bool(heard) and heard[-1].last == 41)
            assert [h.first for h in heard] == [1] + [h.last + 1 for h in heard[:-1]]
            assert [h.before for h in heard] == [record(h.first - 1).command_id for h in heard]
            for hint in heard:
                assert hint.records is None or [r.offset for r in hint.records] == list(
                    range(hint.first, hint.last + 1)
                )

    async def test_listeners_end(self, world: World) -> None:
        """A listener that ended hears nothing more; one that raises does not keep others from hearing."""
        process = world.endpoint()
        heard: list[Hint] = []
        early: list[Hint] = []

        def broken(hint: Hint) -> None:
            raise RuntimeError("a listener's own fault")

        async with started(process):
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            process.subscribe(broken)
            end = process.subscribe(early.append)
            process.subscribe(heard.append)
            process.publish(tip(Position("e", 1)))
            await until(lambda: len(heard) == 1)
            end()
            end()
            process.publish(tip(Position("e", 2)))
            await until(lambda: len(heard) == 2)
            assert [h.last for h in early] == [1]

    async def test_answers_reach_their_process_after_the_hints(self, world: World) -> None:
        """An answer goes to the process that is named, and only there, after the hints published before it."""
        asking, other, consumer = world.endpoint(), world.endpoint(), world.endpoint()
        said: list[object] = []
        overheard: list[object] = []
        async with started(asking, other, consumer):
            asking.subscribe(said.append)
            asking.answers(lambda outcomes, epoch: said.append((epoch, outcomes)))
            other.answers(lambda outcomes, epoch: overheard.append(outcomes))
            consumer.answers(lambda outcomes, epoch: overheard.append(outcomes))
            assert len({asking.name, other.name, consumer.name}) == 3
            expected: list[object] = []
            for n in range(1, 51):
                hint = Hint("e", n, n, [record(n)])
                outcome = Outcome(f"{n:032x}", Status.REJECTED, n, 0, "no", "precondition", None, "hash", 2.0)
                consumer.publish(hint)
                consumer.answer(asking.name, [outcome], "e")
                expected += [hint, ("e", [outcome])]
            consumer.answer("nobody-of-this-name", [], "e")
            consumer.publish(tip(Position("e", 50)))
            expected.append(tip(Position("e", 50)))
            await until(lambda: len(said) >= len(expected))
            assert said == expected
            assert overheard == []

    async def test_answers_bring_results(self, world: World) -> None:
        """What a handler returned arrives as its JSON, and "nothing" differs from a null."""
        asking = world.endpoint()
        said: list[Outcome] = []
        async with started(asking):
            asking.answers(lambda outcomes, epoch: said.extend(outcomes))
            results = [None, b"null", b'{"deleted":"\\u2603"}', b"[]"]
            asking.answer(
                asking.name,
                [
                    Outcome(f"{n:032x}", Status.APPLIED, n, result=None if r is None else msgspec.Raw(r))
                    for n, r in enumerate(results)
                ],
                "e",
            )
            await until(lambda: len(said) == len(results))
            assert [None if o.result is None else bytes(o.result) for o in said] == results

    async def test_every_process_hears_announcements(self, world: World) -> None:
        """Announcements reach every process with topic, payload and headers."""
        left, right = world.endpoint(), world.endpoint()
        heard: list[Announcement] = []
        async with started(left, right):
            left.announcements(heard.append)
            right.announcements(heard.append)
            said = Announcement("connection_opened", b"\x00\xff bytes", {"process": "s1"})
            left.announce(said)
            await until(lambda: len(heard) == 2)
            assert heard == [said, said]
