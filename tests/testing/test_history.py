"""The history checker: a true story passes, and each kind of lie is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from skerry.testing.history import Entry, Frame, History, Operation, check


@dataclass
class Story:
    """Two clients, one key that is put, read, changed, deleted; another key with a precondition."""

    history: History = field(default_factory=History)
    log: list[Entry] = field(default_factory=list)
    stored: dict[str, tuple[str, int]] = field(default_factory=dict)
    copies: dict[str, dict[str, str]] = field(default_factory=dict)
    streams: dict[str, list[Frame]] = field(default_factory=dict)

    def problems(self) -> list[str]:
        return check(self.history.operations, self.log, self.stored, self.copies, self.streams)

    def of(self, value: str) -> Operation:
        return next(o for o in self.history.operations if o.value == value and o.writes)

    def reads(self) -> list[Operation]:
        return [o for o in self.history.operations if not o.writes]


def true_story() -> Story:
    story = Story()
    history = story.history

    def put(client: str, key: str, value: str, offset: int, if_match: int | None = None) -> None:
        operation = history.begin(client, "put", key, value=value, if_match=if_match)
        story.log.append(Entry(offset, f"id-{offset}", key, value))
        history.applied(operation, offset, command_id=f"id-{offset}")

    def get(client: str, key: str, value: str | None, offset: int, revision: int, token: int = 0) -> None:
        operation = history.begin(client, "get", key, token=token)
        history.applied(operation, offset, value=value, revision=revision)

    put("one", "k", "v1", 1)
    get("one", "k", "v1", 1, 1, token=1)
    put("two", "k", "v2", 2)
    get("one", "k", "v2", 2, 2)
    put("two", "other", "o1", 3, if_match=0)
    put("one", "other", "o2", 4, if_match=3)
    refused = history.begin("two", "put", "other", value="o3", if_match=3)
    history.refused(refused)
    unknown = history.begin("two", "put", "k", value="v4")  # never answered, and yet it took effect
    story.log.append(Entry(5, "id-5", "k", "v4"))
    assert unknown.verdict == "unknown"
    history.begin("two", "put", "k", value="v5")  # never answered, and had none
    deleted = history.begin("one", "delete", "k")
    story.log.append(Entry(6, "id-6", "k", None))
    history.applied(deleted, 6, command_id="id-6")
    nothing = history.begin("one", "delete", "k")
    history.applied(nothing, 6, command_id="id-none")
    get("one", "k", None, 6, 0, token=6)
    story.stored = {"other": ("o2", 4)}
    story.copies = {"server": {"other": "o2"}, "listener": {"other": "o2"}}
    story.streams = {
        "listener": [
            Frame(1, "k", "v1"),
            Frame(3, "other", "o1"),
            Frame(3, "other", "o1", fresh=True),
            Frame(6, "k", None),
        ]
    }
    return story


def test_a_true_story_has_no_problems() -> None:
    """Unanswered writes with and without an effect, refusals, deletions of nothing: all that may happen, passes."""
    assert true_story().problems() == []


def _gap(story: Story) -> None:
    story.log[4] = replace(story.log[4], offset=7)


def _lost(story: Story) -> None:
    del story.log[-3:]


def _lost_under_another_id(story: Story) -> None:
    story.log[0] = replace(story.log[0], command_id="somebody")


def _moved(story: Story) -> None:
    story.of("v1").offset = 2


def _refused_and_done(story: Story) -> None:
    story.log.append(Entry(7, "id-7", "other", "o3"))


def _deleted_and_there(story: Story) -> None:
    story.history.operations[-2].offset = 5


def _twice(story: Story) -> None:
    story.log.append(Entry(7, "id-5", "k", "v4"))


def _value_twice(story: Story) -> None:
    story.log.append(Entry(7, "id-7", "k", "v4"))


def _from_nowhere(story: Story) -> None:
    story.log.append(Entry(7, "id-7", "k", "nobody"))


def _overtaken(story: Story) -> None:
    first, second = story.of("v1"), story.of("v2")
    story.log[0] = replace(story.log[0], value="v2", command_id="id-2")
    story.log[1] = replace(story.log[1], value="v1", command_id="id-1")
    first.offset, second.offset = 2, 1


def _position_back(story: Story) -> None:
    story.reads()[1].offset = 0


def _revision_back(story: Story) -> None:
    story.reads()[1].revision = 1
    story.reads()[0].revision = 2


def _not_own(story: Story) -> None:
    story.reads()[2].token = 9


def _untrue(story: Story) -> None:
    story.reads()[1].value = "v1"


def _read_of_the_future(story: Story) -> None:
    story.reads()[2].offset = 99


def _precondition(story: Story) -> None:
    story.of("o2").if_match = 1


def _both_succeed(story: Story) -> None:
    story.log.append(Entry(7, "id-7", "other", "o3"))
    story.history.applied(story.of("o3"), 7, command_id="id-7")


def _row_lost(story: Story) -> None:
    story.stored.clear()


def _row_of_another_position(story: Story) -> None:
    story.stored["other"] = ("o2", 3)


def _memory_lacks(story: Story) -> None:
    story.copies["server"].clear()


def _listener_differs(story: Story) -> None:
    story.copies["listener"]["other"] = "o1"


def _heard_wrong(story: Story) -> None:
    story.streams["listener"][0] = Frame(1, "k", "v2")


def _heard_back(story: Story) -> None:
    story.streams["listener"].append(Frame(1, "k", "v1"))


LIES: list[tuple[Callable[[Story], None], str]] = [
    (_gap, "gap"),
    (_lost, "lost"),
    (_lost_under_another_id, "lost"),
    (_moved, "lost"),
    (_refused_and_done, "lost"),
    (_deleted_and_there, "lost"),
    (_twice, "doubled"),
    (_value_twice, "doubled"),
    (_from_nowhere, "doubled"),
    (_overtaken, "disordered"),
    (_position_back, "backwards"),
    (_revision_back, "backwards"),
    (_not_own, "not own"),
    (_untrue, "untrue"),
    (_read_of_the_future, "untrue"),
    (_precondition, "precondition"),
    (_both_succeed, "precondition"),
    (_row_lost, "unequal"),
    (_row_of_another_position, "unequal"),
    (_memory_lacks, "unequal"),
    (_listener_differs, "unequal"),
    (_heard_wrong, "stream"),
    (_heard_back, "stream"),
]


@pytest.mark.parametrize(("lie", "kind"), LIES, ids=[lie.__name__.strip("_") for lie, _ in LIES])
def test_each_lie_is_found(lie: Callable[[Story], None], kind: str) -> None:
    """Each promise that is broken on purpose is found, by the check that is about it."""
    story = true_story()
    lie(story)
    assert any(problem.startswith(f"{kind}: ") for problem in story.problems()), story.problems()
