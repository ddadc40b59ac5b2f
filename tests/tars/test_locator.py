"""The table of names."""

from __future__ import annotations

from skerry.tars.locator import Located, StaticLocator


async def test_what_was_put_is_found() -> None:
    """Active and inactive endpoints; an unknown name, and one that was emptied, are nowhere."""
    locator = StaticLocator({"A.B.C": "tcp -h a -p 1:tcp -h b -p 2"})
    assert [endpoint.host for endpoint in (await locator.find("A.B.C")).active] == ["a", "b"]
    locator.put("A.B.C", "tcp -h a -p 1", inactive="tcp -h b -p 2")
    assert [endpoint.host for endpoint in (await locator.find("A.B.C")).inactive] == ["b"]
    assert await locator.find("No.Such.Obj") == Located(())
    locator.put("A.B.C", "")
    assert await locator.find("A.B.C") == Located(())
