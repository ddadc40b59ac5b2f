"""Settings: each source beats the next, and what is wrong is said in one line that names it and its source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from skerry.app import App
from skerry.errors import SettingsError
from skerry.kernel.settings import PREFIX, Option, Settings, address, load_settings, options, rate, sections
from skerry.options import options_of
from skerry.settings import (
    BalancerSettings,
    HubSettings,
    PostgresSettings,
    RabbitSettings,
    ServerSettings,
    SqliteSettings,
)  # fmt: skip


def write(directory: Path, *, toml: str | bytes = "", dotenv: str | bytes = "") -> Path:
    for name, text in (("skerry.toml", toml), (".env", dotenv)):
        if text:
            (directory / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return directory


def problem(directory: Path, flags: Mapping[str, object] | None = None, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags or {}, environ, directory)
    text = str(caught.value)
    assert "\n" not in text, "one line"
    return text


def test_each_source_beats_the_next(tmp_path: Path) -> None:
    """Flags beat environment beats .env beats skerry.toml beats the default; a flag not given beats nothing."""
    write(
        tmp_path,
        toml="wait = 1\ndrain = 1\nkeep-alive = 11\npartitions = 2",
        dotenv="SKERRY_WAIT=2\nSKERRY_DRAIN=2\nSKERRY_PARTITIONS=3",
    )
    found = load_settings(
        {"wait": "4", "namespace": None}, {"SKERRY_WAIT": "3", "SKERRY_DRAIN": "3"}, tmp_path
    )
    assert (found.wait, found.drain, found.partitions, found.keep_alive) == (4.0, 3.0, 3, 11.0)
    assert found.request_timeout == Settings().request_timeout
    assert load_settings({}, {}, tmp_path / "elsewhere") == Settings()


def test_the_file_may_have_a_table_of_its_own(tmp_path: Path) -> None:
    """`[skerry]` in skerry.toml, so that other tools may stand beside it; names with - or _."""
    write(tmp_path, toml='[skerry]\nlog-format = "json"\naccess_log = true\n[other]\nwait = "x"')
    found = load_settings({}, {}, tmp_path)
    assert (found.log_format, found.access_log, found.wait) == ("json", True, 5.0)


def test_dotenv_is_read_as_shells_write_it(tmp_path: Path) -> None:
    """Comments, `export`, quotes and spaces; variables of others are none of our business."""
    write(
        tmp_path,
        dotenv="# a comment\n\nexport SKERRY_WAIT='7'\nSKERRY_TOKENS = \"read:a=b\" \nPATH=/x\nSKERRY_ORIGINS=\n",
    )
    found = load_settings({}, {}, tmp_path)
    assert (found.wait, found.tokens, found.origins) == (7.0, "read:a=b", "")


def test_ports_of_the_demo(tmp_path: Path) -> None:
    """SERVER_PORT and WEBSOCKET_PORT are honoured; SKERRY_BIND says more and beats them."""
    found = load_settings({}, {"SERVER_PORT": "1234", "WEBSOCKET_PORT": "1235"}, tmp_path)
    assert (found.bind, found.gateway_bind) == ("127.0.0.1:1234", "127.0.0.1:1235")
    assert load_settings({}, {"SERVER_PORT": "1234", "SKERRY_BIND": "[::1]:5"}, tmp_path).bind == "[::1]:5"


@pytest.mark.parametrize("option", options(), ids=lambda option: option.name)
def test_every_setting_can_come_from_every_source(option: Option, tmp_path: Path) -> None:
    """One list: a value that fits is taken from flag, environment, .env and file alike, and becomes its type."""
    good = {
        "namespace": "abc",
        "log_format": "json",
        "log_level": "error",
        "durability": "normal",
        "intensity": "5/30",
        "max_rss_soft": "512MB",
        "max_rss_hard": "1GB",
        "loop_model": "poll",
        "role": "server,consumer",
        "origins": "https://shop.example:8443, http://[::1]:80, :8998, *",
        "trusted": "10.0.0.1, 10.1.0.0/16, unix:",
        "root_path": "/kv",
    }
    if option.name in ("tls_cert", "tls_key"):
        other = {"tls_cert": "tls_key", "tls_key": "tls_cert"}[option.name]
        extra = {PREFIX + other.upper(): "x"}
    else:
        extra = {}
    fits = {bool: "yes", int: "64", float: "2.5"}.get(option.kind, good.get(option.name, "127.0.0.1:80"))
    fits = {"keep_alive": "3", "max_header": "2048"}.get(option.name, fits)
    expected = {"yes": True}.get(fits, option.kind(fits) if option.kind is not bool else True)
    assert getattr(load_settings({option.name: fits}, extra, tmp_path), option.name) == expected
    assert getattr(load_settings({}, {option.variable: fits, **extra}, tmp_path), option.name) == expected
    write(tmp_path, dotenv=f"{option.variable}={fits}")
    assert getattr(load_settings({}, extra, tmp_path), option.name) == expected
    (tmp_path / ".env").unlink()
    write(tmp_path, toml=f'{option.name} = "{fits}"')
    assert getattr(load_settings({}, extra, tmp_path), option.name) == expected
    assert option.help
    assert option.flag.startswith("--")


WRONG = [
    ("partitions", "x", "a whole number"),
    ("partitions", "0", "between 1 and 1024"),
    ("partitions", "1.5", "a whole number"),
    ("wait", "nan", "between 0.0 and 30.0"),
    ("wait", "inf", "between 0.0 and 30.0"),
    ("wait", "-1", "between"),
    ("wait", "", "a number"),
    ("warm_start", "perhaps", "true or false"),
    ("log_level", "loud", "none of debug, info, warning, error"),
    ("durability", "most", "none of full, normal"),
    ("namespace", "Über", "lower case letters"),
    ("origins", "shop.example", "none of http(s)://HOST[:PORT], :PORT, *"),
    ("origins", "https://shop.example/path", "none of"),
    ("bind", "nonsense", "is not HOST:PORT"),
    ("bind", "localhost:70000", "is not HOST:PORT"),
    ("gateway_bind", "x:", "is not HOST:PORT"),
]


@pytest.mark.parametrize(("name", "value", "why"), WRONG)
def test_a_wrong_value_is_named_with_its_source(name: str, value: str, why: str, tmp_path: Path) -> None:
    """One line: the setting, what is wrong, and whether flag, environment, .env or file said so."""
    (tmp_path / "file").mkdir()
    (tmp_path / "dotenv").mkdir()
    write(tmp_path / "file", toml=f'{name} = "{value}"')
    write(tmp_path / "dotenv", dotenv=f"{PREFIX}{name.upper()}='{value}'")
    for text, source in (
        (problem(tmp_path, {name: value}), "command line"),
        (problem(tmp_path, None, **{PREFIX + name.upper(): value}), "environment"),
        (problem(tmp_path / "dotenv"), ".env"),
        (problem(tmp_path / "file"), "skerry.toml"),
    ):
        assert text.startswith(f"{name}: "), text
        assert why in text
        assert f"from {source}" in text


def test_an_alias_is_named_as_the_user_wrote_it(tmp_path: Path) -> None:
    """SERVER_PORT=x is wrong where it stands."""
    assert "environment" in problem(tmp_path, SERVER_PORT="x")


def test_secrets_are_never_shown() -> None:
    """No value of a secret stands in what is printed for people."""
    assert [option.name for option in options() if option.secret] == ["tokens", "admin_token"]


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ("wait = ", "skerry.toml: "),
        ("colour = 1", "colour: no such setting (in skerry.toml)"),
        ("wait = [1]", "wait: [1] (from skerry.toml) is not a number"),
        ("partitions = true", "partitions: True (from skerry.toml) is not a whole number"),
        ('journal = ["a", "b"]', "journal: ['a', 'b'] (from skerry.toml) is not text"),
        ("skerry = 1", "skerry.toml: [skerry] is not a table"),
        (b"wait = '\xff'", "skerry.toml: "),
    ],
)
def test_a_file_that_makes_no_sense(toml: str | bytes, why: str, tmp_path: Path) -> None:
    """Syntax, unknown names and wrong kinds of values are errors, not surprises."""
    assert why in problem(write(tmp_path, toml=toml))


@pytest.mark.parametrize(
    ("dotenv", "why"), [("SKERRY_WAIT", ".env: line 1"), (b"SKERRY_WAIT=\xff", ".env: ")]
)
def test_a_dotenv_that_makes_no_sense(dotenv: str | bytes, why: str, tmp_path: Path) -> None:
    """The line is named."""
    assert why in problem(write(tmp_path, dotenv=dotenv))


def test_only_half_of_tls_is_an_error(tmp_path: Path) -> None:
    """A certificate without its key, or the reverse."""
    assert "tls_key" in problem(tmp_path, {"tls_cert": "x"})
    assert "tls_key" in problem(tmp_path, {"tls_key": "x"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:8", ("::1", 8)),
        ("8999", ("127.0.0.1", 8999)),
        (":8999", ("127.0.0.1", 8999)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    """HOST:PORT, [IPV6]:PORT and PORT alone; no host means this machine only, never all interfaces."""
    assert address(text) == expected


@pytest.mark.parametrize("text", ["", "a:b", "a:", "1:99999", "a:²", "a:-1", "a: 1"])
def test_what_is_no_address(text: str) -> None:
    """SettingsError that names the setting."""
    with pytest.raises(SettingsError, match=r"^here: "):
        address(text, "here")


def test_the_journal_is_named_after_the_application() -> None:
    """`{namespace}` in the URL, so that several applications live beside each other by default."""
    assert Settings().journal_url("shop") == "sqlite:///.skerry/shop.db"
    assert Settings(journal="memory:").journal_url("shop") == "memory:"


@pytest.mark.parametrize(
    ("bind", "tokens", "said"),
    [
        ("127.0.0.1:1", "", False), ("8999", "", False), ("[::1]:1", "", False), ("localhost:1", "", False),
        ("127.9.9.9:1", "", False), ("0.0.0.0:1", "", True), ("[::]:1", "", True), ("192.0.2.7:1", "", True),
        ("example.test:1", "", True), ("0.0.0.0:1", "write:a", False),
    ],
)  # fmt: skip
def test_an_address_that_is_open_to_everybody_is_said(bind: str, tokens: str, said: bool) -> None:
    """Reached from outside without tokens: one line with what to do; this machine's own addresses need none."""
    warning = Settings(bind=bind, tokens=tokens).exposed()
    assert (warning is not None) is said
    assert warning is None or (bind in warning and "SKERRY_TOKENS" in warning)


@pytest.mark.parametrize(
    ("text", "expected"), [("10/60", (10, 60.0)), ("20", (20, 10.0)), ("0/0.5", (0, 0.5))]
)
def test_rates(text: str, expected: tuple[int, float]) -> None:
    """N/SECONDS; a plain N is within ten seconds, as it was before."""
    assert rate(text, "intensity") == expected


@pytest.mark.parametrize("text", ["", "many", "1/0", "-1/60", "1/2/3", "10/nan", "10/inf"])
def test_what_is_no_rate_is_an_error(text: str) -> None:
    """It names the setting and says what would be right."""
    with pytest.raises(SettingsError, match=r"intensity: .* is not N/SECONDS"):
        rate(text, "intensity")


PARTS = [option for section, kind in sections().items() for option in options_of(kind, section)]


@pytest.mark.parametrize("option", PARTS, ids=lambda option: option.key)
def test_every_setting_of_a_part_can_come_from_every_source(option: Option, tmp_path: Path) -> None:
    """Its table in skerry.toml, its variable, `.env`, and by name as a flag gives it; within its limits."""
    kind = sections()[option.section]
    other: object = not option.default if option.kind is bool else option.most
    other = option.default if other is None else other
    text = str(other).lower()
    written = f'"{text}"' if option.kind is str else text
    for flags, environ, files in (
        ({option.key: text}, {}, {}),
        ({}, {option.variable: text}, {}),
        ({}, {}, {"dotenv": f"{option.variable}={text}"}),
        ({}, {}, {"toml": f"[{option.section}]\n{option.name.replace('_', '-')} = {written}"}),
    ):
        for name in (".env", "skerry.toml"):
            (tmp_path / name).unlink(missing_ok=True)
        found = load_settings(flags, environ, write(tmp_path, **files))
        assert getattr(found.of(kind), option.name) == other
    assert option.help
    assert option.kind in (bool, str) or option.least is not None
    if option.kind in (int, float):
        assert option.least <= option.default <= option.most
        expected = rf"^{option.key}: .* \(from environment\) is not between"
        with pytest.raises(SettingsError, match=expected):
            load_settings({}, {option.variable: "1e99" if option.kind is float else "9" * 30}, tmp_path)


def test_no_two_settings_share_a_variable() -> None:
    """A part's table and a setting's name never read as the same variable."""
    variables = [option.variable for option in (*options(), *PARTS)]
    assert len(variables) == len(set(variables))


def test_what_an_application_declares_is_the_default_of_its_parts(tmp_path: Path) -> None:
    """Files and environment beat it, one by one; what neither sets is the record's."""
    app = App("shop", settings=[HubSettings(replay_events=5, ping_seconds=9)])
    write(tmp_path, toml="[skerry.hub]\nping_seconds = 7")
    found = load_settings({}, {}, tmp_path, declared=app.declaration.settings)
    assert found.of(HubSettings) == HubSettings(replay_events=5, ping_seconds=7)
    assert Settings().over(app.declaration.settings).of(HubSettings).replay_events == 5
    own = Settings(sections=(HubSettings(replay_events=8),))
    assert own.over(app.declaration.settings).of(HubSettings).replay_events == 8


def test_a_part_takes_what_is_set_for_the_whole_process() -> None:
    """Limits that had a name before keep it; the part has the same value."""
    settings = Settings(max_listeners=3, max_header=2048, drain=0.0, access_log=True, durability="normal")
    assert settings.of(HubSettings).max_listeners == 3
    server = settings.of(ServerSettings)
    assert (server.max_head_bytes, server.drain_seconds, server.access_log) == (2048, 0.01, "all")
    assert settings.of(SqliteSettings).synchronous == "NORMAL"
    assert Settings(partitions=4).of(RabbitSettings).partitions == 4


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([HubSettings(ping_seconds=0)], "hub.ping_seconds: 0 is not between 1 and 3600"),
        ([HubSettings(ping_seconds="9")], "hub.ping_seconds: '9' is not a whole number"),  # type: ignore[arg-type]
        ([HubSettings(max_listeners=5)], "hub.max_listeners: has a setting of its own, max_listeners"),
        ([HubSettings(), HubSettings()], "hub: there are two HubSettings"),
        ([object()], "settings: <object object"),
        (
            [BalancerSettings()],
            r"balancer: the balancer does not load the application: set it by \[balancer\]",
        ),
    ],
)
def test_an_application_s_slips_are_told_where_it_is_made(records: list[object], why: str) -> None:
    """One line, at the declaration."""
    with pytest.raises(SettingsError, match=f"^{why}"):
        App("shop", settings=records)


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ("[hub]\nheld_byte = 1", "hub.held_byte: no such setting (in skerry.toml); did you mean hub.held_bytes?"),
        ("[hubb]\nping_seconds = 1", "hubb: no such table of settings (in skerry.toml); did you mean hub?"),
        ("[hub]\nping_seconds = [1]", "hub.ping_seconds: [1] (from skerry.toml) is not a whole number"),
        ("[amqp]\nprefetch = 0", "amqp.prefetch: 0 (from skerry.toml) is not between 1 and 2000"),
    ],
)  # fmt: skip
def test_a_table_that_makes_no_sense(toml: str, why: str, tmp_path: Path) -> None:
    """The setting is named with its table."""
    assert problem(write(tmp_path, toml=toml)) == why


def test_a_slip_in_dotenv_s_parts_is_said(tmp_path: Path) -> None:
    """Names of ours in a file of ours; the environment may hold what an orchestrator puts there."""
    write(tmp_path, dotenv="SKERRY_HUB_PING_SECOND=3")
    assert "did you mean SKERRY_HUB_PING_SECONDS?" in problem(tmp_path)
    (tmp_path / ".env").unlink()
    environ = {"SKERRY_SERVER_SERVICE_HOST": "10.0.0.1", "SKERRY_SERVER_PORT": "tcp://10.0.0.1:80"}
    assert load_settings({}, environ, tmp_path) == Settings()


def test_backends_have_parts_too() -> None:
    """Typed, by the class of the record."""
    settings = Settings(sections=(PostgresSettings(connections=20),))
    assert settings.of(PostgresSettings).connections == 20
    assert settings.of(RabbitSettings) == RabbitSettings()


def test_secrets_may_stand_in_files(tmp_path: Path) -> None:
    """Of the environment, of .env and of skerry.toml, each at its place in the order; read anew each time."""
    secret, journal = tmp_path / "tokens", tmp_path / "journal"
    secret.write_text("read:one\n")
    environ = {"SKERRY_TOKENS_FILE": str(secret)}
    assert load_settings({}, environ, tmp_path).tokens == "read:one"
    secret.write_text("  write:two  ")
    assert load_settings({}, environ, tmp_path).tokens == "write:two"
    assert load_settings({}, {**environ, "SKERRY_TOKENS": "read:itself"}, tmp_path).tokens == "read:itself"
    assert load_settings({"tokens": "read:flag"}, environ, tmp_path).tokens == "read:flag"
    journal.write_text("postgresql://user:secret@db/shop\n")
    write(tmp_path, dotenv=f"SKERRY_TOKENS=read:env\nSKERRY_JOURNAL_FILE={journal}\n")
    assert load_settings({}, environ, tmp_path).tokens == "write:two"
    found = load_settings({}, {}, tmp_path)
    assert (found.tokens, found.journal) == ("read:env", "postgresql://user:secret@db/shop")
    write(tmp_path, toml=f'admin_token_file = "{secret}"\n')
    assert load_settings({}, {}, tmp_path).admin_token == "write:two"


@pytest.mark.parametrize("name", ["tokens", "journal", "transport", "admin_token"])
def test_a_secret_that_cannot_be_read_is_told(name: str, tmp_path: Path) -> None:
    """With the setting, the file and the source; a setting that holds no secret has no file."""
    variable = f"SKERRY_{name.upper()}_FILE"
    with pytest.raises(
        SettingsError, match=rf"{name}_file: \S+/none cannot be read: No such .* \(from environment\)"
    ):
        load_settings({}, {variable: str(tmp_path / "none")}, tmp_path)
    write(tmp_path, dotenv="SKERRY_BIND_FILE=x\n")
    with pytest.raises(SettingsError, match="no such setting"):
        load_settings({}, {}, tmp_path)
