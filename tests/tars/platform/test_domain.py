"""The text format of the platform's files, as TarsCpp's TC_Config reads and writes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.tars.platform.domain import ConfigurationError, Domain

SAMPLE = """
# written by hand
<tars>
  <application>
    enableset=n
    <server>
        app = Demo
        path=C\\\\x\\=y
        endpoint=tcp -h 10.0.0.1 -p 20001 -t 60000
        <Demo.PyServer.ObjAdapter>
            allow
        </Demo.PyServer.ObjAdapter>
    </server>
    <server>
        app=Late
        more=a=b
    </server>
    <nodes>
        second
        first
    </nodes>
  </application>
</tars>
"""

texts = st.text(st.characters(codec="utf-8")).map(lambda text: text.strip(" "))
keys = texts.filter(lambda key: key and key[0] not in "#<" and not key.endswith("\\"))
names = st.text(st.characters(codec="utf-8")).filter(
    lambda name: ">" not in name and "\n" not in name and not name.startswith("/")
)
domains = st.recursive(
    st.builds(Domain, st.dictionaries(keys, texts, max_size=4)),
    lambda inner: st.builds(
        Domain, st.dictionaries(keys, texts, max_size=3), st.dictionaries(names, inner, max_size=3)
    ),
    max_leaves=6,
)


@given(domains)
def test_what_is_written_reads_as_it_was(domain: Domain) -> None:
    """Every tree of keys, values and names that can be written reads back equal."""
    assert Domain.parse(domain.text()) == domain


def test_reads_as_tarscpp_does() -> None:
    """Blanks go, comments go, the first bare `=` cuts, the last of two equal keys counts, domains are continued."""
    root = Domain.parse(SAMPLE)
    assert root.value("/tars/application/server<app>") == "Late"
    assert root.value("/tars/application/server<path>") == "C\\x=y"
    assert root.value("/tars/application/server<more>") == "a=b"
    assert root.value("/tars/application/server<missing>", "default") == "default"
    assert root.keys("/tars/application/nodes") == ("second", "first")
    assert root.keys("/tars/application/server/Demo.PyServer.ObjAdapter") == ("allow",)


def test_crlf_and_a_blank_by_tarsnode() -> None:
    """Files with CRLF are read, and `\\s`, which tarsnode's templates may have."""
    assert Domain.parse("<a>\r\nx=\\s1\r\n</a>\r\n").value("/a<x>") == " 1"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<a>\nx=1", "line 1: <a> is not closed by </a>"),
        ("<a>\n<b>\n</a>", "line 3: </a> closes <b> of line 2"),
        ("</a>", "line 1: </a> closes nothing"),
        ("<a\n</a>", "line 1: a domain's name ends with '>': <a"),
        ("x=\\d", "line 1: '\\d' means nothing (a backslash is '\\\\'): \\d"),
    ],
)
def test_says_which_line_is_wrong(text: str, complaint: str) -> None:
    """A file that cannot be read is refused with the line and what is wrong there."""
    with pytest.raises(ConfigurationError) as error:
        Domain.parse(text)
    assert str(error.value) == complaint


@pytest.mark.parametrize(
    "domain",
    [
        Domain({"#x": "1"}),
        Domain({"": "1"}),
        Domain({"x": " 1"}),
        Domain({"x\\": "1"}),
        Domain(domains={"/a": Domain()}),
        Domain(domains={"a>": Domain()}),
    ],
)
def test_refuses_to_write_what_would_read_otherwise(domain: Domain) -> None:
    """What the format cannot say is an error, not another file."""
    with pytest.raises(ConfigurationError):
        domain.text()
