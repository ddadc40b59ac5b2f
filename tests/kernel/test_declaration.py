"""A declaration is plain lists; a name that becomes part of queues and tables always fits them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import DeclarationError
from skerry.http.application import Application, ApplicationSettings
from skerry.journal.table import Table
from skerry.kernel.declaration import Declaration
from skerry.kernel.settings import Settings


class Row(msgspec.Struct):
    value: int


def declaration(name: str = "shop") -> Declaration:
    return Declaration(name, Application(ApplicationSettings(title=name)))


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("livekv", "livekv"),
        ("My Shop", "my_shop"),
        ("Größe", "gr_e"),
        ("2nd", "app_2nd"),
        ("日本", "app"),
        ("a" * 50, "a" * 20),
        ("", "app"),
    ],
)
def test_the_namespace_comes_from_the_name(name: str, namespace: str) -> None:
    """Lower case letters and digits, single _ between them, a letter first, at most 20."""
    assert declaration(name).namespace == namespace


@given(st.text(max_size=60))
def test_any_name_gives_a_namespace_that_could_be_set(name: str) -> None:
    """The default obeys the rule that a setting has to obey."""
    Settings(namespace=declaration(name).namespace)


def test_a_table_may_be_named_twice_but_not_by_two() -> None:
    """The same object from a handler and a projection is one; another of its name would share its rows."""
    declared = declaration()
    table = Table("rows", key=str, row=Row)
    declared.use_table(table)
    declared.use_table(table)
    assert declared.tables == {"rows": table}
    with pytest.raises(DeclarationError, match="two tables are named 'rows'"):
        declared.use_table(Table("rows", key=str, row=Row))
