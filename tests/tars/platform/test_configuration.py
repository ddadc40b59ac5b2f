"""The node's configuration file as typed values."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.tars.endpoint import Endpoint
from skerry.tars.platform.configuration import (
    AdapterConfiguration,
    ClientConfiguration,
    Configuration,
    ObjectConfiguration,
    TlsFiles,
)
from skerry.tars.platform.domain import ConfigurationError

FILE = """
<tars>
  <application>
    enableset=y
    setdivision=pay.sh.1
    <server>
        app=Demo
        server=PyServer
        localip=10.0.0.1
        local=tcp -h 127.0.0.1 -p 31234 -t 10000
        node=tars.tarsnode.ServerObj@tcp -h 10.0.0.1 -p 19386 -t 60000
        basepath=/usr/local/app/tars/tarsnode/data/Demo.PyServer/bin/
        logpath=/usr/local/app/tars/app_log/
        logsize=15M
        log=tars.tarslog.LogObj
        deactivating-timeout=5000
        env=A=1;B=x y
        opencoroutine=0
        <Demo.PyServer.ObjAdapter>
            endpoint=tcp -h localip -p 20001 -t 60000
            maxconns=1000
            protocol=tars
            queuecap=50
            queuetimeout=60000
            servant=Demo.PyServer.Obj
            threads=5
        </Demo.PyServer.ObjAdapter>
        <Demo.PyServer.WebObjAdapter>
            allow=127.0.0.1;10.*
            endpoint=tcp -h 10.0.0.1 -p 20002 -t 60000
            protocol=not_tars
            servant=Demo.PyServer.WebObj
        </Demo.PyServer.WebObjAdapter>
    </server>
    <client>
        locator=tars.tarsregistry.QueryObj@tcp -h 10.0.0.2 -p 17890
        refresh-endpoint-interval=60*1000
        report-interval=1000
        <Other.Server.Obj>
            accesskey=me
            secretkey=geheim
        </Other.Server.Obj>
    </client>
  </application>
</tars>
"""


def test_a_file_of_the_node() -> None:
    """What the node writes is read with its units, its defaults and TarsCpp's lower bounds."""
    found = Configuration.parse(FILE)
    assert (found.name, found.node_name, found.set_division) == ("Demo.PyServer", "10.0.0.1", "pay.sh.1")
    assert found.local == Endpoint("tcp", "127.0.0.1", 31234, 10000)
    assert (found.log_bytes, found.deactivating_seconds, found.activating_seconds) == (15 * 2**20, 5.0, 60.0)
    assert found.environment == {"A": "1", "B": "x y"}
    assert found.log_directory == Path("/usr/local/app/tars/app_log/Demo/PyServer")
    servant, web = found.adapters
    assert servant.endpoint.host == "10.0.0.1"
    assert (servant.speaks_tars, servant.threads, servant.max_connections) == (True, 5, 1000)
    assert (servant.queue_capacity, servant.queue_timeout_seconds, servant.allow) == (50, 60.0, ())
    assert (web.speaks_tars, web.max_connections, web.allow) == (False, 128, ("127.0.0.1", "10.*"))
    assert found.adapter_of("WebObj") is web
    assert found.client.refresh_seconds == 60.0
    assert found.client.report_seconds == 10.0
    assert found.client.objects["Other.Server.Obj"].secret_key == "geheim"
    assert "geheim" not in repr(found)
    assert found.domain.value("/tars/application/server<opencoroutine>") == "0"


def test_what_is_written_has_allow_and_keeps_other_keys() -> None:
    """A C++ server dies without `allow`; keys that are no setting of ours survive a change, removed ones do not."""
    text = Configuration.parse(FILE).changed(node="", log="other.Log.Obj").text()
    lines = [line.strip() for line in text.splitlines()]
    assert lines.count("allow") == 1
    assert "allow=127.0.0.1;10.*" in lines
    assert "opencoroutine=0" in lines
    again = Configuration.parse(text)
    assert (again.node, again.log) == ("", "other.Log.Obj")
    assert again == Configuration.parse(FILE).changed(node="", log="other.Log.Obj")


words = st.from_regex(r"[A-Za-z][A-Za-z0-9_.]{0,8}", fullmatch=True)
maybe = words | st.just("")
seconds = st.integers(10_000, 10**6).map(lambda number: number / 1000)
counts = st.integers(1, 10**6)
tls = st.builds(TlsFiles, maybe, maybe, maybe, st.booleans(), maybe)
endpoints = st.builds(
    Endpoint, st.sampled_from(["tcp", "udp", "ssl"]), words, st.integers(0, 65535), st.integers(0, 10**6)
)
lists = st.lists(words, max_size=3).map(tuple)
adapters = st.builds(
    AdapterConfiguration,
    name=words,
    servant=words,
    endpoint=endpoints.filter(lambda endpoint: endpoint.host != "localip"),
    protocol=words,
    threads=counts,
    handle_group=maybe,
    max_connections=counts,
    queue_capacity=counts,
    queue_timeout_seconds=seconds,
    allow=lists,
    deny=lists,
    order=st.permutations(("allow", "deny")).map(tuple),
    access_key=maybe,
    secret_key=maybe,
)
clients = st.builds(
    ClientConfiguration,
    locator=maybe,
    stat=maybe,
    property=maybe,
    module_name=maybe,
    connect_seconds=seconds,
    refresh_seconds=seconds,
    report_seconds=seconds,
    report_bytes=st.integers(500, 10**6),
    trace_bytes=st.integers(1, 100).map(lambda number: number * 1024),
    objects=st.dictionaries(words, st.builds(ObjectConfiguration, maybe, maybe, tls), max_size=2),
)
configurations = st.builds(
    Configuration,
    app=words,
    server=words,
    adapters=st.lists(adapters, max_size=3, unique_by=lambda adapter: adapter.name).map(tuple),
    client=clients,
    node_name=words,
    local_ip=maybe,
    set_division=maybe.filter(lambda division: division != "NULL"),
    local=endpoints | st.none(),
    node=maybe,
    config=maybe,
    log_bytes=counts,
    activating_seconds=seconds,
    check_set=st.booleans(),
    environment=st.dictionaries(words, maybe, max_size=3),
)


@given(configurations, tls)
def test_every_configuration_reads_back_equal(configuration: Configuration, shared: TlsFiles) -> None:
    """Both ways: typed values to text and back, certificates of the server inherited by its adapters."""
    whole = configuration.changed(
        tls=shared,
        adapters=tuple(
            AdapterConfiguration(
                **{**{name: getattr(each, name) for name in each.__slots__}, "tls": shared}
            )
            for each in configuration.adapters
        ),
    )  # fmt: skip
    assert Configuration.parse(whole.text()) == whole
    for name in (adapter.name for adapter in whole.adapters):
        assert "allow" in Configuration.parse(whole.text()).domain.keys(f"/tars/application/server/{name}")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("app=Demo", "", "/tars/application/server<app>: is missing: the file is none that a node has written"),
        ("deactivating-timeout=5000", "deactivating-timeout=soon",
         "/tars/application/server<deactivating-timeout>: wants a whole number, 0 or more, not 'soon'"),
        ("logsize=15M", "logsize=much", "/tars/application/server<logsize>: wants a size such as 10M, not 'much'"),
        ("endpoint=tcp -h localip -p 20001 -t 60000", "endpoint=x",
         "/tars/application/server/Demo.PyServer.ObjAdapter<endpoint>: an endpoint starts with tcp, udp or ssl: 'x'"),
        ("servant=Demo.PyServer.Obj\n", "\n",
         "/tars/application/server/Demo.PyServer.ObjAdapter<servant>: is missing"),
        ("log=tars.tarslog.LogObj", "log=tars.tarslog.LogObj@x",
         "/tars/application/server<log>: an endpoint starts with tcp, udp or ssl: 'x'"),
    ],
)  # fmt: skip
def test_names_the_key_that_is_wrong(old: str, new: str, complaint: str) -> None:
    """One line with the key's path and what it wants."""
    with pytest.raises(ConfigurationError) as error:
        Configuration.parse(FILE.replace(old, new, 1))
    assert str(error.value) == complaint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The complaint names the path; one within the file names the file, too."""
    with pytest.raises(ConfigurationError, match=r"--config: cannot read .*missing\.conf: No such file"):
        Configuration.read(tmp_path / "missing.conf")
    wrong = tmp_path / "wrong.conf"
    wrong.write_bytes(b"# \xc4\xe3\n<tars>\n")
    with pytest.raises(ConfigurationError, match=r"wrong\.conf: line 2: <tars> is not closed"):
        Configuration.read(wrong)
