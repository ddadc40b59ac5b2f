"""Settings: one tree, five sources.

Flags beat environment (`SKERRY_...`) beats `.env` beats `skerry.toml` beats what the application declares
(`App(settings=...)`) beats the default. Each setting is declared once, with its type, default, limits and help: those
of a process here, those of a part in the part's own record, a table of `skerry.toml` (`skerry.options`; which records
there are: `skerry.plugins`). The command line and the documentation are made from the same lists. A wrong value ends
with one line that names the setting and where it came from.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from skerry.errors import SettingsError
from skerry.http.forwarded import root_of
from skerry.http.hosts import ENTRY, is_loopback
from skerry.http.trusted import Trusted
from skerry.options import PREFIX as PREFIX
from skerry.options import Option as Option
from skerry.options import check_record, completed, is_record, nearest, options_of, set_in
from skerry.options import option as _option
from skerry.plugins import ROLES, SETTINGS, find, name_of, names, ours

S = TypeVar("S")
COMMANDS = "commands"
"""The table of `skerry.toml` with the options of single commands."""
OF_COMMAND = re.compile(
    PREFIX
    + "(PS|RELOAD|SETTINGS|STOP|RESTART|SCALE|ROUTES|LEAKS|BUS|DOCTOR|(INFRA|JOURNAL|ROW|DEAD|TARS)_[A-Z]+)_[A-Z_]+"
)
"""The variable of an option that only one command has."""
INTERNAL = re.compile(PREFIX + "([A-Z_]+_FD|CONTROL|PARENT|LOG_MARK|RUNTIME_DIR|TEST_LOG)")
"""Variables by which processes tell each other what they are; no settings."""
ELSEWHERE = ("balancer", "proxy")
"""Parts of processes that do not load the application."""
REPLACED_SECONDS = 30.0
"""How long a request may take at least in a process that is replaced: nobody is in a hurry then."""
CLOSING_SECONDS = 0.5
"""What is left of the time to end when the requests under way had theirs."""
_ORIGIN = re.compile(
    r"\*|:[0-9]{1,5}|https?://[^/\s:@]+(:[0-9]{1,5})?/?|https?://\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?/?"
)
_NAMESPACE = re.compile(r"(?=.{1,20}$)[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass(frozen=True)
class Settings:
    """All settings. Times are seconds, sizes bytes."""

    namespace: str = _option("", "prefix of queues, exchanges and tables; default: the application's name")
    journal: str = _option(
        "sqlite:///{data}/{namespace}.db",
        "memory: | sqlite:///PATH | postgresql://...",
        flag="--journal",
        may_be_file=True,
    )
    transport: str = _option(
        "",
        "memory: | local: | postgresql: | amqp://HOST[,HOST]...; default: local: with sqlite, memory: with memory",
        may_be_file=True,
    )
    bind: str = _option("127.0.0.1:8999", "address to listen on, HOST:PORT", aliases=("SERVER_PORT",))
    gateway_bind: str = _option(
        "127.0.0.1:8998", "address of a gateway's own WebSocket port", aliases=("WEBSOCKET_PORT",)
    )
    data: str = _option(".skerry", "directory for sockets, warm-start files and the embedded journal")
    partitions: int = _option(1, "partitions of the command queue", least=1, most=1024)
    generation: int = _option(
        1,
        "generation of the command queues; add one whenever you change partitions (RabbitMQ, PostgreSQL)",
        least=1,
        most=1_000_000,
    )
    wait: float = _option(5.0, "seconds that a write waits for its effect, at most", least=0.0, most=30.0)
    writable_after: float = _option(
        10.0,
        "seconds that commands may wait with nobody deciding before /health/ready?for=writes is 503",
        least=1.0,
        most=3600.0,
    )
    lease: float = _option(
        5.0, "seconds after which another consumer takes over from one that is silent", least=0.5, most=60.0
    )
    tokens: str = _option(
        "", "bearer tokens, as read:TOKEN,write:NAME=TOKEN; without any everything is open", secret=True
    )
    origins: str = _option(
        "",
        "further origins whose pages may listen to events and read, by commas: http(s)://HOST[:PORT], :PORT, *",
    )
    hosts: str = _option(
        "",
        "names that are served, by commas: NAME[:PORT], .DOMAIN, *; default: on loopback those without a dot",
    )
    trusted: str = _option(
        "",
        "proxies whose word about clients counts (X-Forwarded-*, Forwarded, PROXY protocol), by commas: ADDRESS, "
        "NETWORK/BITS, unix:",
    )
    root_path: str = _option("", "path under which clients find the application, as /kv")
    live_url: str = _option(
        "", "where pages find the stream of events: wss://HOST[:PORT], or :PORT on this host"
    )
    max_connections: int = _option(10_000, "connections of one server", least=1, most=1_000_000)
    max_pending: int = _option(
        2_000,
        "requests of one server, off the lane, whose answer has not begun; further ones get 503",
        least=1,
        most=1_000_000,
    )
    max_listeners: int = _option(
        20_000, "listeners to the stream of events in one server", least=1, most=1_000_000
    )
    max_header: int = _option(32 * 1024, "bytes of a request's head", least=1024, most=1 << 20)
    request_timeout: float = _option(10.0, "seconds to send a request's head", least=0.1, most=600.0)
    keep_alive: float = _option(75.0, "seconds an idle connection is kept", least=1.0, most=3600.0)
    drain: float = _option(3.0, "seconds that work in progress may take at shutdown", least=0.0, most=600.0)
    warm_start: bool = _option(
        True, "keep a local copy of memory for a quick start while the database is away"
    )
    loop_model: str = _option(
        "", "select | poll | epoll | kqueue | asyncio | uvloop; default uvloop where installed"
    )
    admin_bind: str = _option(
        "",
        "HOST:PORT of health, readiness and numbers for operators, of `up` for all its processes; empty: none",
    )
    admin_token: str = _option(
        "",
        "bearer token for numbers and orders at admin_bind; needed where that is no loopback address",
        secret=True,
    )
    tls_cert: str = _option("", "certificate chain (PEM)")
    tls_key: str = _option("", "private key (PEM)")
    log_format: str = _option("auto", "auto (readable on a terminal, else json) | text | json")
    log_level: str = _option("info", "debug | info | warning | error")
    access_log: bool = _option(False, "log every request, those answered from memory too")
    durability: str = _option("full", "sqlite: full (every answered write survives a power cut) | normal")
    servers: int = _option(3, "server processes behind the balancer", least=1, most=256, group="up")
    consumers: int = _option(
        1,
        "consumer processes (of an embedded journal one works, the others stand by)",
        least=0,
        most=64,
        group="up",
    )
    gateways: int = _option(0, "gateway processes on the WebSocket port", least=0, most=64, group="up")
    fork_server: bool = _option(
        True,
        "import the application once and fork the processes, where the system can (Linux)",
        group="up",
    )
    reload: bool = _option(False, "replace the processes when a file changes (development)", group="up")
    intensity: str = _option(
        "10/60",
        "restarts of one process within so many seconds, N/SECONDS, after which everything ends; N means N/10",
        group="up",
    )
    max_requests: int = _option(
        0, "requests after which a server or gateway is replaced, and up to 10 % more; 0: never", least=0, most=1 << 40,
        group="up",
    )  # fmt: skip
    max_rss_soft: str = _option(
        "", "memory beyond which a server or gateway is replaced, as 512MB; empty: never", group="up"
    )
    max_rss_hard: str = _option(
        "", "memory beyond which a server or gateway is ended at once, as 1GB; empty: never", group="up"
    )
    max_lifetime: float = _option(
        0.0, "seconds after which a server or gateway is replaced, and up to 10 % more; 0: never", least=0, most=1e9,
        group="up",
    )  # fmt: skip
    hang: float = _option(
        10.0,
        "seconds without a sign of life after which a process is ended; 0: never",
        least=0,
        most=3600,
        group="up",
    )
    start_timeout: float = _option(
        60.0,
        "seconds that a process may take until it says something, a successor until it is ready",
        least=1.0,
        most=86_400.0,
        group="up",
    )
    role: str = _option(
        "",
        "run only this role, consumer | server | gateway; may be repeated (elsewhere: by commas)",
        group="run",
        multiple=True,
    )
    to: str = _option(
        "",
        "a server elsewhere, HOST:PORT; may be repeated (elsewhere: by commas)",
        group="balancer",
        multiple=True,
    )
    health: str = _option(
        "/health/ready?for=traffic",
        "path that tells whether a server is well; empty: a connection is enough",
        group="balancer",
    )
    send_proxy: bool = _option(
        False, "tell servers elsewhere who the client is, by the PROXY protocol (version 2)", group="balancer"
    )
    process: str = _option("", "this process's name in logs and metrics; set by `skerry up`")
    sections: tuple[Any, ...] = ()
    """The records of parts that differ from their defaults, as `HubSettings(replay_events=50_000)`; `of` finds them."""

    def __post_init__(self) -> None:
        check_sections(self.sections)
        if self.namespace and not _NAMESPACE.fullmatch(self.namespace):
            what = "at most 20 lower case letters and digits, a letter first, single _ between them"
            raise SettingsError("namespace", what)
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                choices = ", ".join(a or "(empty)" for a in allowed)
                raise SettingsError(name, f"{getattr(self, name)!r} is none of {choices}")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise SettingsError("tls_cert", "set tls_cert and tls_key both, or neither")
        for role in listed(self.role):
            if role not in ours(ROLES) and role not in names(ROLES):
                raise SettingsError("role", f"{role!r} is none of {', '.join(names(ROLES))}")
        for upstream in listed(self.to):
            address(upstream, "to")
        rate(self.intensity, "intensity")
        soft, hard = (byte_count(getattr(self, name), name) for name in ("max_rss_soft", "max_rss_hard"))
        if soft and hard and soft >= hard:
            raise SettingsError(
                "max_rss_soft", f"{self.max_rss_soft} is not less than max_rss_hard, {self.max_rss_hard}"
            )
        address(self.bind, "bind")
        address(self.gateway_bind, "gateway_bind")
        if self.admin_bind and not (
            is_loopback(address(self.admin_bind, "admin_bind")[0]) or self.admin_token
        ):
            what = "is reachable from outside: set SKERRY_ADMIN_TOKEN, or bind to 127.0.0.1"
            raise SettingsError("admin_bind", f"{self.admin_bind} {what}")
        for host in listed(self.hosts):
            if not ENTRY.fullmatch(host):
                raise SettingsError("hosts", f"{host!r} is none of NAME[:PORT], .DOMAIN, *")
        Trusted(listed(self.trusted), setting="trusted")
        root_of(self.root_path, "root_path")
        for origin in listed(self.origins):
            if not _ORIGIN.fullmatch(origin):
                raise SettingsError("origins", f"{origin!r} is none of http(s)://HOST[:PORT], :PORT, *")

    def of(self, kind: type[S]) -> S:
        """The settings of a part, by the class of its record: as they were set, or the defaults."""
        found = next((record for record in self.sections if type(record) is kind), None)
        return completed(kind() if found is None else found, self)

    def over(self, declared: Iterable[Any]) -> Settings:
        """These settings with an application's own records where nothing else was set."""
        kinds = {type(record) for record in self.sections}
        added = tuple(record for record in declared if type(record) not in kinds)
        return replace(self, sections=(*self.sections, *added)) if added else self

    def exposed(self, setting: str = "bind") -> str | None:
        """A line of warning when other machines can reach that address and no token is required; else
        None."""
        text: str = getattr(self, setting)
        if self.tokens or is_loopback(address(text, setting)[0]):
            return None
        what = "is reachable from outside and everybody may read and write"
        return f"{text} {what}: set SKERRY_TOKENS, or bind to 127.0.0.1"

    def journal_url(self, namespace: str) -> str:
        """The URL of the journal, with `{data}` and `{namespace}` filled in."""
        return self.journal.replace("{data}", self.data).replace("{namespace}", namespace)


FROM_FILE = tuple(
    f.name for f in fields(Settings) if f.metadata.get("secret") or f.metadata.get("may_be_file")
)
"""Settings that may hold a secret: SKERRY_NAME_FILE names a file with the value."""
_CHOICES: dict[str, tuple[str, ...]] = {
    "loop_model": ("", "select", "poll", "epoll", "kqueue", "asyncio", "uvloop"),
    "log_format": ("auto", "text", "json"),
    "log_level": ("debug", "info", "warning", "error"),
    "durability": ("full", "normal"),
}


def listed(text: str) -> list[str]:
    """The items of a setting that has several, by commas."""
    return [item for item in (each.strip() for each in text.split(",")) if item]


def rate(text: str, setting: str) -> tuple[int, float]:
    """N/SECONDS; N alone means within 10 s. Raises SettingsError."""
    count, _, seconds = text.partition("/")
    try:
        found = int(count), float(seconds or "10")
    except ValueError:
        found = -1, 0.0
    if not (0 <= found[0] <= 10_000 and 0 < found[1] <= 86_400):
        raise SettingsError(setting, f"{text!r} is not N/SECONDS, as in 10/60")
    return found


_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?)(?:i?[bB])?")


def byte_count(text: str, setting: str) -> int:
    """512MB, 1.5G, 300KiB, 1000000: bytes, each step 1024; 0 for nothing. Raises SettingsError."""
    found = _BYTES.fullmatch(text.strip())
    if not found:
        if not text.strip():
            return 0
        raise SettingsError(setting, f"{text!r} is no amount of memory, as in 512MB or 1GB")
    return int(float(found[1]) * 1024 ** " kmgt".index(found[2].lower() or " "))


def address(text: str, setting: str = "bind") -> tuple[str, int]:
    """HOST:PORT, [IPV6]:PORT, or PORT on 127.0.0.1. Raises SettingsError."""
    host, separator, port = text.rpartition(":")
    if not separator:
        host, port = "127.0.0.1", text
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise SettingsError(setting, f"{text!r} is not HOST:PORT (ports 0 to 65535)")
    return host, int(port)


def options() -> list[Option]:
    """Every setting of its own, in order; not those of parts."""
    return list(options_of(Settings))


def sections() -> dict[str, type]:
    """The records of parts, ours and those of plugins, by the names of their tables. Loads them all."""
    return {name: _section(name) for name in names(SETTINGS)}


def section_of(record: Any) -> str:
    """The name of a record's table. Raises SettingsError for what is no settings record."""
    if (name := name_of(SETTINGS, type(record))) is not None:
        return name
    raise SettingsError(
        "settings", f"{record!r} is not a settings record, as HubSettings(replay_events=50_000) is"
    )


def check_sections(records: Iterable[Any]) -> None:
    """Raises SettingsError for what is no settings record, is there twice, or has a value that is not allowed."""
    seen: set[type] = set()
    for record in records:
        section = section_of(record)
        if type(record) in seen:
            raise SettingsError(
                section, f"there are two {type(record).__name__}: one record has all of a part"
            )
        seen.add(type(record))
        check_record(record, section)


def check_declared(records: Iterable[Any]) -> None:
    """The same for those that an application declares, which a process without it would not know."""
    check_sections(records)
    for record in records:
        if (section := section_of(record)) in ELSEWHERE:
            where = f"[{section}] in skerry.toml, SKERRY_{section.upper()}_... or --set {section}.NAME=VALUE"
            raise SettingsError(section, f"the {section} does not load the application: set it by {where}")


def _section(name: str) -> type:
    kind = find(SETTINGS, name)
    if not is_record(kind):
        raise SettingsError(name, f"the plugin's {kind!r} is not a dataclass with options")
    return kind  # type: ignore[no-any-return]


def given_settings(
    flags: Mapping[str, Any], environ: Mapping[str, str] | None = None, directory: Path | None = None
) -> dict[str, tuple[Any, str]]:
    """What the sources have, by name (`wait`, `hub.ping_seconds`): the value that wins as it is written, and where it
    stands. Raises SettingsError for a file that makes no sense."""
    environ = os.environ if environ is None else environ
    directory = directory or Path.cwd()
    found: dict[str, tuple[Any, str]] = {}
    for source, values in (
        ("skerry.toml", _without_commands(_from_toml(directory / "skerry.toml"))),
        (".env", _from_environment(_known(_from_dotenv(directory / ".env")))),
        ("environment", _from_environment(environ)),
        ("command line", {name: value for name, value in flags.items() if value is not None}),
    ):
        found |= {name: (value, source) for name, value in _with_files(values, source).items()}
    return found


def _with_files(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Values of one source, with those that stand in files of their own (`tokens_file`) read: secrets of containers and
    of systemd. A value that is given itself is taken. Raises SettingsError for a file that cannot be read."""
    found = dict(values)
    for name in FROM_FILE:
        path = found.pop(f"{name}_file", None)
        if not path or name in values:
            continue
        try:
            found[name] = Path(str(path)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SettingsError(f"{name}_file", f"{path} cannot be read: {why} (from {source})") from error
    return found


def load_settings(
    flags: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    *,
    declared: Iterable[Any] = (),
) -> Settings:
    """Merge the sources. `flags`: setting name (`wait`, `hub.ping_seconds`) -> value, None for not given. `declared`:
    the application's records. Raises SettingsError."""
    found = given_settings(flags, environ, directory)
    known = {option.name: option for option in options()}
    own: dict[str, Any] = {}
    parts: dict[str, dict[str, tuple[Any, str]]] = {}
    for key, (value, source) in found.items():
        section, _, name = key.rpartition(".")
        if section:
            parts.setdefault(section, {})[name] = value, source
        elif key in known:
            own[key] = known[key].value(value, source)
        else:
            raise SettingsError(
                key, f"no such setting (in {source}){nearest(key, known)}; see skerry run --help"
            )
    try:
        return Settings(**own, sections=_records(parts, declared))
    except SettingsError as error:
        if error.setting not in own:
            raise
        raise SettingsError(error.setting, f"{error.problem} (from {found[error.setting][1]})") from None


def _records(parts: Mapping[str, Mapping[str, tuple[Any, str]]], declared: Iterable[Any]) -> tuple[Any, ...]:
    """What is set of parts, over what the application declares."""
    records = {type(record): record for record in declared}
    for section, given in parts.items():
        if section not in ours(SETTINGS) and section not in names(SETTINGS):
            source = next(iter(given.values()))[1]
            hint = nearest(section, names(SETTINGS))
            raise SettingsError(section, f"no such table of settings (in {source}){hint}")
        kind = _section(section)
        records[kind] = set_in(records.get(kind, kind()), section, given)
    return tuple(records.values())


def _from_toml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError("skerry.toml", str(error)) from error
    table = data.get("skerry", data)
    if not isinstance(table, dict):
        raise SettingsError("skerry.toml", "[skerry] is not a table")
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = str(key).replace("-", "_")
        if name == COMMANDS or not isinstance(value, dict):
            found[name] = value
        else:
            found |= {f"{name}.{str(part).replace('-', '_')}": each for part, each in value.items()}
    return found


def command_options(directory: Path | None = None) -> tuple[dict[str, str], dict[str, Any]]:
    """What the files have for the options of single commands: variables as `SKERRY_JOURNAL_TAIL_LINES` from `.env`,
    and the tables of `[commands]`, as `[commands.journal.tail]`, from `skerry.toml`. Raises SettingsError."""
    directory = directory or Path.cwd()
    variables = _from_dotenv(directory / ".env")
    tables = _from_toml(directory / "skerry.toml").get(COMMANDS, {})
    if not isinstance(tables, dict):
        raise SettingsError("skerry.toml", f"[{COMMANDS}] is not a table")
    return {name: value for name, value in variables.items() if OF_COMMAND.fullmatch(name)}, tables


def _without_commands(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != COMMANDS}


def _from_dotenv(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SettingsError(".env", str(error)) from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ")
        if not text or text.startswith("#"):
            continue
        name, separator, value = text.partition("=")
        if not separator:
            raise SettingsError(".env", f"line {number} is not NAME=VALUE")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[name.strip()] = value
    return found


def _known(found: dict[str, str]) -> dict[str, str]:
    """Our names in a file of ours are settings, or a slip. Raises SettingsError for a slip."""
    taken = _from_environment(found)
    variables = {_variable(key) for key in taken}
    for name in found:
        if name.startswith(PREFIX) and name not in variables and not OF_COMMAND.fullmatch(name):
            known = [option.variable for option in options()]
            for section in _named(name):
                known += [option.variable for option in options_of(_section(section), section)]
            raise SettingsError(name, f"no such setting (in .env){nearest(name, known)}")
    return found


def _variable(key: str) -> str:
    return PREFIX + key.replace(".", "_").upper()


def _named(variable: str) -> list[str]:
    """The tables that a variable may be of. Plugins are looked for where it is of none of ours."""
    rest = variable.removeprefix(PREFIX).lower()
    found = [name for name in ours(SETTINGS) if rest.startswith(f"{name}_")]
    if found or INTERNAL.fullmatch(variable):
        return found
    return [name for name in names(SETTINGS) if rest.startswith(f"{name}_")]


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    own = {option.variable: option.name for option in options()}
    for f in fields(Settings):
        for alias in f.metadata.get("aliases", ()):
            if environ.get(alias):
                found[f.name] = f"127.0.0.1:{environ[alias]}"
    for variable, value in environ.items():
        if variable in own:
            found[own[variable]] = value
        elif own.get(variable.removesuffix("_FILE")) in FROM_FILE:
            found[own[variable.removesuffix("_FILE")] + "_file"] = value
        elif variable.startswith(PREFIX):
            found |= _of_section(variable, value)
    return found


def _of_section(variable: str, value: str) -> dict[str, str]:
    """The setting of a part that a variable is: none or one."""
    for section in _named(variable):
        for option in options_of(_section(section), section):
            if option.variable == variable:
                return {option.key: value}
    return {}
