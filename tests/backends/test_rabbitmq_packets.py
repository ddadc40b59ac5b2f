"""Cutting hints and packs to size, and reading back what was written."""

from __future__ import annotations

import msgspec
import pytest

from skerry.backends import packets
from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.backends.rabbitmq.topology import Topology, explain_mismatch
from skerry.backends.rabbitmq.transport import RabbitTransport
from skerry.bus.transport import MAX_HINT_BYTES, Announcement
from skerry.errors import SettingsError
from skerry.journal.hints import Hint, tip
from skerry.journal.journal import Outcome, Record, Status
from skerry.position import Position
from skerry.testing.transports import envelope, record


def test_hints_are_cut_between_records() -> None:
    """Parts are contiguous, cover the hint, and each is within the limit; small ones stay one."""
    records = [record(n, 7_000) for n in range(10, 200)]
    bodies = list(packets.encode_hint(Hint("e", 10, 199, records)))
    parts = [packets.decode_hint(body) for body in bodies]
    assert max(map(len, bodies)) <= MAX_HINT_BYTES
    assert len(bodies) < 12
    assert [r for part in parts for r in part.records or []] == records
    assert [p.first for p in parts] == [10] + [p.last + 1 for p in parts[:-1]]
    assert len(list(packets.encode_hint(Hint("e", 1, 50, [record(n) for n in range(1, 51)])))) == 1


def test_a_record_above_the_limit_goes_as_its_position() -> None:
    """What no message takes is fetched by its readers; its neighbours travel."""
    records = [record(1), record(2, 400_000), record(3)]
    parts = [packets.decode_hint(body) for body in packets.encode_hint(Hint("e", 1, 3, records))]
    assert [(p.first, p.last, p.records is None) for p in parts] == [
        (1, 1, False),
        (2, 2, True),
        (3, 3, False),
    ]


def test_keys_that_grow_in_json_stay_within_the_limit() -> None:
    """The estimate may be wrong (a control character is six bytes of JSON); the limit holds all the same."""
    records = [
        Record(n, "c", "\x01" * 512, "put", 1, 1.0, False, msgspec.Raw(b"{}")) for n in range(1, 1000)
    ]  # fmt: skip
    bodies = list(packets.encode_hint(Hint("e", 1, 999, records)))
    assert max(map(len, bodies)) <= MAX_HINT_BYTES
    parts = [packets.decode_hint(body) for body in bodies]
    assert [p.first for p in parts] == [1] + [p.last + 1 for p in parts[:-1]]
    assert parts[-1].last == 999


def test_tips_and_bare_positions_travel() -> None:
    """A hint without records is one small message."""
    for hint in (tip(Position("e", 7)), Hint("e", 3, 9)):
        [body] = packets.encode_hint(hint)
        assert packets.decode_hint(body) == hint
        assert len(body) < 40


def test_many_outcomes_are_several_answers() -> None:
    """Answers are bounded; together they say everything, in order."""
    outcomes = [Outcome(f"{n:032x}", Status.APPLIED, n, result=msgspec.Raw(b"1")) for n in range(1200)]
    bodies = list(packets.encode_answer(outcomes, "e"))
    assert len(bodies) == 3
    read = [packets.decode_answer(body) for body in bodies]
    assert [o.command_id for part, _ in read for o in part] == [o.command_id for o in outcomes]
    assert {epoch for _, epoch in read} == {"e"}


def test_announcements_carry_any_bytes() -> None:
    """A payload need not be text."""
    said = Announcement("t", bytes(range(256)), {"a": "ü"})
    assert packets.decode_announcement(packets.encode_announcement(said)) == said


def test_packs_are_cut_by_count_and_size() -> None:
    """In order, never empty; one that is large alone stays alone."""
    small = [envelope(n) for n in range(10)]
    assert [len(p) for p in packets.cut_pack(small, 4, 10**6)] == [4, 4, 2]
    mixed = [envelope(1), envelope(2, value="x" * 5000), envelope(3)]
    assert [[int(e.id, 16) for e in p] for p in packets.cut_pack(mixed, 100, 2000)] == [[1], [2], [3]]
    assert list(packets.cut_pack([], 4, 100)) == []


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"url": "http://localhost"}, "transport"),
        ({"url": "amqp://"}, "transport"),
        ({"url": "amqp://h:99999999/"}, "transport"),
        ({"namespace": "a b"}, "namespace"),
        ({"namespace": ""}, "namespace"),
        ({"partitions": 0}, "partitions"),
        ({"prefetch": 5000}, "prefetch"),
        ({"beat_seconds": 0}, "beat_seconds"),
    ],
)
def test_wrong_settings_name_themselves(options: dict[str, object], setting: str) -> None:
    """A setting that cannot work is refused when it is made, by its name."""
    with pytest.raises(SettingsError) as caught:
        RabbitSettings(**{"url": "amqp://localhost/", **options})  # type: ignore[arg-type]
    assert caught.value.setting == setting


@pytest.mark.parametrize("name", ["all", "x" * 201])
def test_a_name_is_an_address(name: str) -> None:
    """A process cannot be called what everybody is called, nor beyond a routing key's size."""
    with pytest.raises(SettingsError, match="name"):
        RabbitTransport(RabbitSettings("amqp://localhost/"), name=name)


def test_the_place_has_no_password() -> None:
    """What is logged shows host, port and vhost only."""
    assert RabbitSettings("amqp://u:secret@mq.example/app").place == "mq.example:5672/app"
    assert RabbitSettings("amqps://u:secret@mq.example").place == "mq.example:5671/"


def test_every_argument_of_a_command_queue_is_said() -> None:
    """No broker's default decides what happens to a command."""
    queue = Topology(RabbitSettings("amqp://localhost/", "shop", partitions=3, generation=2)).partitions[2]
    assert queue.name == "shop.commands.v2.p2"
    assert queue.arguments == {
        "x-queue-type": "quorum",
        "x-single-active-consumer": True,
        "x-delivery-limit": 1_000_000_000,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "shop.dead",
        "x-dead-letter-routing-key": "dead",
        "x-dead-letter-strategy": "at-least-once",
    }


def test_a_mismatch_is_explained() -> None:
    """The broker's words become: what it is, what it should be, what to do."""
    said = explain_mismatch(
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'shop.commands.v1.p0' in vhost '/': "
        "received the value 'quorum' of type 'longstr' but current is the value 'classic' of type 'longstr'"
    )
    assert "queue 'shop.commands.v1.p0' in vhost '/' was made with x-queue-type = 'classic'" in said
    assert "Skerry needs 'quorum'" in said
