"""Names of the IDL in Python."""

from __future__ import annotations

import keyword

from hypothesis import given
from hypothesis import strategies as st

from skerry.tars.idl.names import (
    enum_name,
    parameter_name,
    python_name,
    python_names,
    result_class_name,
    result_name,
)


def test_names_stay_where_they_can() -> None:
    """Only what Python reserves changes, and in one way."""
    assert [python_name(n) for n in ("id", "from", "None", "__x", "_x", "print")] == [
        "id", "from_", "None_", "m__x", "_x", "print",
    ]  # fmt: skip
    assert [parameter_name(n) for n in ("self", "cls")] == ["self_", "cls"]
    assert [result_name(n) for n in ("ret", "_x", "count")] == ["ret_", "m_x", "count"]
    assert [enum_name(n) for n in ("RED", "name", "mro", "_x_", "real")] == [
        "RED",
        "name_",
        "mro_",
        "m_x_",
        "real_",
    ]


@given(st.lists(st.sampled_from(["from", "from_", "from__", "__a", "m__a", "x"]), unique=True))
def test_names_stay_different(names: list[str]) -> None:
    """Whatever stands beside each other."""
    made = python_names(names)
    assert len(set(made.values())) == len(names)
    assert not any(keyword.iskeyword(n) for n in made.values())


def test_names_of_results() -> None:
    """Interface and function, with `_` where the name is taken."""
    assert result_class_name("Hello", "greet", ()) == "HelloGreetResult"
    assert result_class_name("Hello", "greet", ("HelloGreetResult",)) == "HelloGreetResult_"
