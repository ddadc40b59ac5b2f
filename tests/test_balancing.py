"""Balancers are fair, keep keys where they are, and pass over what is not usable."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.balancing import (
    Balancer,
    ConsistentHash,
    HashModulo,
    LeastBusy,
    RoundRobin,
    Weighted,
    hash_code,
    ring_points,
)


def every_kind(nodes: list[str]) -> list[Balancer[str]]:
    kinds: list[Balancer[str]] = [
        RoundRobin(nodes),
        LeastBusy(lambda _: 0, nodes),
        Weighted(lambda _: 1, nodes),
        HashModulo(nodes),
        ConsistentHash(nodes),
    ]
    return kinds


@pytest.mark.parametrize("index", range(5))
def test_nothing_to_pick_is_none(index: int) -> None:
    """No nodes, or none usable: None, with a key and without; never an exception, never a node."""
    assert every_kind([])[index].pick() is None
    assert every_kind([])[index].pick(7) is None
    assert every_kind(["a", "b"])[index].pick(7, lambda _: False) is None
    assert every_kind(["a", "b"])[index].pick(None, lambda _: False) is None


@pytest.mark.parametrize("index", range(5))
def test_without_a_key_equals_get_equal_shares(index: int) -> None:
    """300 picks among three equals are 100 each, whatever the balancer."""
    balancer = every_kind(["a", "b", "c"])[index]
    assert Counter(balancer.pick() for _ in range(300)) == {"a": 100, "b": 100, "c": 100}


@pytest.mark.parametrize("index", range(5))
def test_replace_takes_effect_at_once(index: int) -> None:
    """After `replace` only the new nodes are picked."""
    balancer = every_kind(["a", "b", "c"])[index]
    balancer.pick()
    balancer.replace(["d", "e"])
    assert {balancer.pick() for _ in range(10)} == {"d", "e"}
    assert {balancer.pick(key << 24) for key in range(256)} <= {"d", "e"}


def test_round_robin_goes_round_and_passes_over() -> None:
    """One after the other from `start`; an unusable node is passed over and not forgotten."""
    balancer = RoundRobin("abc", start=1)
    assert [balancer.pick() for _ in range(4)] == ["b", "c", "a", "b"]
    assert [balancer.pick(None, lambda node: node != "c") for _ in range(3)] == ["a", "b", "a"]
    assert [balancer.pick() for _ in range(3)] == ["b", "c", "a"]


def test_least_busy_takes_the_least_and_turns_among_equals() -> None:
    """The least work wins; equals take turns, so that an idle service spreads its first requests."""
    work = {"a": 2, "b": 0, "c": 0}
    balancer = LeastBusy(lambda node: work[node], work)
    assert [balancer.pick() for _ in range(4)] == ["b", "c", "b", "c"]
    work["b"] = work["c"] = 5
    assert balancer.pick() == "a"


def test_weights_are_kept_and_spread() -> None:
    """5:1:1 is exactly that in seven picks, never more than two of the heavy one in a row at the seam."""
    weights = {"a": 5, "b": 1, "c": 1, "off": 0}
    balancer = Weighted(lambda node: weights[node], weights)
    assert "".join(balancer.pick() or "?" for _ in range(7)) == "aabacaa"
    assert Counter(balancer.pick() for _ in range(700)) == {"a": 500, "b": 100, "c": 100}


def test_an_unusable_node_gathers_no_credit() -> None:
    """A node that was away for long is not flooded when it comes back."""
    balancer = Weighted(lambda _: 1, "ab")
    for _ in range(50):
        assert balancer.pick(None, lambda node: node == "a") == "a"
    assert Counter(balancer.pick() for _ in range(10)) == {"a": 5, "b": 5}


def test_tars_hash_is_modulo_of_the_unsigned_code() -> None:
    """index = (uint64) code mod N; -1 is 2**64 - 1."""
    balancer = HashModulo("abc")
    assert [balancer.pick(key) for key in (0, 1, 2, 3)] == ["a", "b", "c", "a"]
    assert balancer.pick(-1) == "abc"[(2**64 - 1) % 3]


def test_tars_hash_moves_only_keys_of_a_sick_node() -> None:
    """With one node unusable, keys of the others stay where they were."""
    balancer = HashModulo("abcd")
    for key in range(100):
        before = balancer.pick(key)
        after = balancer.pick(key, lambda node: node != "b")
        assert after == before if before != "b" else after in {"a", "c", "d"}


def test_ring_points_are_those_of_tarscpp() -> None:
    """Four little-endian words of the MD5 of `host_j` (from md5sum); weight / 4 names, at least one."""
    points = ring_points("10.0.0.1", 8)
    first, second = bytes.fromhex(MD5_0), bytes.fromhex(MD5_1)
    assert points[:4] == [int.from_bytes(first[at : at + 4], "little") for at in (0, 4, 8, 12)]
    assert points[4:] == [int.from_bytes(second[at : at + 4], "little") for at in (0, 4, 8, 12)]
    assert len(ring_points("h", 100)) == 100
    assert len(ring_points("h", 1)) == 4


def test_consistent_hash_takes_the_next_point_and_wraps() -> None:
    """A key at a point belongs to it, one past the last point to the first."""
    balancer = ConsistentHash(["x", "y"])
    owner = {point: node for node in ("x", "y") for point in ring_points(node, 100)}
    ring = sorted(owner)
    assert balancer.pick(ring[5]) == owner[ring[5]]
    assert balancer.pick(ring[5] + 1) == owner[ring[6]]
    assert balancer.pick(ring[-1] + 1) == owner[ring[0]]
    assert balancer.pick(ring[5] + (1 << 32)) == owner[ring[5]], "only the low 32 bits count"


def test_consistent_hash_moves_few_keys_when_a_node_leaves() -> None:
    """Only keys of the node that left move; unusable means the same as left."""
    nodes = [f"10.0.0.{number}" for number in range(1, 6)]
    whole, less = ConsistentHash(nodes), ConsistentHash(nodes[:-1])
    gone = nodes[-1]
    for key in (hash_code(str(number)) for number in range(500)):
        before = whole.pick(key)
        assert whole.pick(key, lambda node: node != gone) == less.pick(key)
        if before != gone:
            assert less.pick(key) == before


def test_two_nodes_on_one_host_share_its_keys() -> None:
    """TarsCpp forgets one of two instances on a host; here both get keys, and each key has one home."""
    nodes = [("h1", 1), ("h1", 2), ("h2", 1)]
    balancer = ConsistentHash(nodes, label=lambda node: node[0])
    picked = Counter(balancer.pick(hash_code(f"k{number}")) for number in range(1000))
    assert set(picked) == set(nodes)
    assert balancer.pick(12345) == balancer.pick(12345)
    key = hash_code("k1")
    home = balancer.pick(key)
    assert home is not None
    other = balancer.pick(key, lambda node: node != home)
    assert other != home
    assert other is not None


def test_hash_code_is_stable() -> None:
    """The same text has the same code in every process; an int is its own code."""
    assert hash_code("abc") == hash_code(b"abc") == 0x900150983CD24FB0
    assert hash_code(-5) == -5


@given(st.integers(), st.sets(st.sampled_from("abcdef")))
def test_any_key_finds_a_usable_node_if_there_is_one(key: int, usable: set[str]) -> None:
    """Whatever the key, the pick is a usable node, and None only when there is none."""
    for balancer in every_kind(list("abcdef")):
        node = balancer.pick(key, usable.__contains__)
        assert (node in usable) if usable else node is None


MD5_0 = "851c9c475ad9e827942babc0bfdb7f7c"
MD5_1 = "0275c44f2aca436202a89e4b2689c3b0"
