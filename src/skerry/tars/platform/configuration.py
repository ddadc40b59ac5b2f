"""The configuration that the node writes for a server, as typed values, and written again.

`Configuration.read(path)` is where a server begins; tests and the local platform make one and write `text()`. Pure but
for `read`. The format of the text is in `domain`; what is done with the values is decided by their users.

Source: the keys of TarsCpp's `Application`, `EpollServer` and `Communicator`, and of the template `tars.default`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from skerry.tars.endpoint import Endpoint, EndpointError, ObjectAddress
from skerry.tars.platform.domain import ConfigurationError, Domain

APPLICATION, SERVER, CLIENT = (
    "/tars/application",
    "/tars/application/server",
    "/tars/application/client",
)
ADMIN_ADAPTER, ADMIN_OBJECT = "AdminAdapter", "AdminObj"
MINIMUM_REFRESH_SECONDS = 5.0
MINIMUM_REPORT_SECONDS = 10.0
MINIMUM_REPORT_BYTES = 500

_SIZE = re.compile(r"(\d+)\s*([kKmMgG]?)[bB]?")
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificates of an endpoint or of outgoing calls, as paths; all empty: none. `ca` of those that are trusted;
    `verify_client`: clients need a certificate, too."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    verify_client: bool = False
    ciphers: str = ""


@dataclass(frozen=True, slots=True)
class AdapterConfiguration:
    """One `<...Adapter>`: a servant and where it listens. `name` is the block's. `protocol`: `tars`, or
    another one for a servant that speaks HTTP. `allow`, `deny`: addresses with `*`; `order` says which is looked at
    first. `threads`: how many handler threads the platform wants."""

    name: str
    servant: str
    endpoint: Endpoint
    protocol: str = "tars"
    threads: int = 1
    handle_group: str = ""
    max_connections: int = 128
    queue_capacity: int = 1024
    queue_timeout_seconds: float = 10.0
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    order: tuple[str, ...] = ("allow", "deny")
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    tls: TlsFiles = TlsFiles()

    @property
    def speaks_tars(self) -> bool:
        return self.protocol == "tars"

    @property
    def object_name(self) -> str:
        """The last part of the servant's name, as `HelloObj`."""
        return self.servant.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class ObjectConfiguration:
    """What outgoing calls to one object need: an account, certificates."""

    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    tls: TlsFiles = TlsFiles()


@dataclass(frozen=True, slots=True)
class ClientConfiguration:
    """`<client>`: how the server calls others. `locator`, `stat`, `property`: object addresses of the platform; empty:
    there is none. `module_name`: under which name its calls are counted. `objects`: by object name."""

    locator: str = ""
    stat: str = ""
    property: str = ""
    module_name: str = ""
    sync_invoke_seconds: float = 3.0
    async_invoke_seconds: float = 5.0
    connect_seconds: float = 1.5
    refresh_seconds: float = 60.0
    keep_alive_seconds: float = 0.0
    report_seconds: float = 60.0
    report_timeout_seconds: float = 5.0
    report_bytes: int = 1400
    sample_rate: int = 1000
    sample_count: int = 50
    trace_bytes: int = 1024
    objects: Mapping[str, ObjectConfiguration] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A server's configuration. `local`: where `AdminObj` listens, None where nobody asks for it; `node`: the object
    that gets keep-alives; `config`, `log`, `notify`: object names; empty: none. `domain`: everything that the file
    says, other keys included."""

    app: str
    server: str
    adapters: tuple[AdapterConfiguration, ...] = ()
    client: ClientConfiguration = ClientConfiguration()
    node_name: str = ""
    local_ip: str = ""
    set_division: str = ""
    local: Endpoint | None = None
    node: str = ""
    config: str = ""
    log: str = ""
    notify: str = ""
    base_path: str = ""
    data_path: str = ""
    log_path: str = ""
    log_bytes: int = 10 * 1024**2
    log_files: int = 10
    log_level: str = "DEBUG"
    activating_seconds: float = 60.0
    deactivating_seconds: float = 3.0
    check_set: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    tls: TlsFiles = TlsFiles()
    domain: Domain = field(default=Domain(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """`Demo.PyServer`."""
        return f"{self.app}.{self.server}"

    @property
    def log_directory(self) -> Path:
        """Where its logs lie: `logpath/app/server`."""
        return Path(self.log_path, self.app, self.server)

    def adapter_of(self, object_name: str) -> AdapterConfiguration | None:
        """The adapter of `HelloObj`, or of `Demo.PyServer.HelloObj`."""
        full = object_name if "." in object_name else f"{self.name}.{object_name}"
        return next((adapter for adapter in self.adapters if adapter.servant == full), None)

    @classmethod
    def read(cls, path: str | Path) -> Configuration:
        """The file there. Bytes that are not UTF-8, as in somebody's comments, are replaced. Raises
        ConfigurationError."""
        try:
            text = Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise ConfigurationError("--config", f"cannot read {path}: {error.strerror}") from None
        try:
            return cls.parse(text)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error.setting}", error.problem) from None

    @classmethod
    def parse(cls, text: str) -> Configuration:
        """The text of a file. Raises ConfigurationError with the line, or with the key as in
        `/tars/application/server<app>`."""
        return cls.of(Domain.parse(text))

    @classmethod
    def of(cls, domain: Domain) -> Configuration:
        """What a parsed file says. Raises ConfigurationError."""
        server = _Keys(domain, SERVER)
        if not server.text("app") or not server.text("server"):
            missing = "server" if server.text("app") else "app"
            raise ConfigurationError(
                f"{SERVER}<{missing}>", "is missing: the file is none that a node has written"
            )
        application = _Keys(domain, APPLICATION)
        division = application.text("setdivision")
        in_set = application.flag("enableset") and division not in ("", "NULL")
        local_ip = server.text("localip")
        tls = server.tls(TlsFiles())
        return cls(
            app=server.text("app"),
            server=server.text("server"),
            adapters=tuple(_adapters(domain, local_ip, tls)),
            client=_client(domain),
            node_name=server.text("nodename") or local_ip,
            local_ip=local_ip,
            set_division=division if in_set else "",
            local=server.endpoint("local", local_ip) if server.text("local") else None,
            node=server.address("node"),
            config=server.address("config"),
            log=server.address("log"),
            notify=server.address("notify"),
            base_path=server.text("basepath"),
            data_path=server.text("datapath"),
            log_path=server.text("logpath"),
            log_bytes=server.size("logsize", 10 * 1024**2),
            log_files=server.number("lognum", 10),
            log_level=server.text("logLevel") or server.text("loglevel") or "DEBUG",
            activating_seconds=server.milliseconds("activating-timeout", 60.0),
            deactivating_seconds=server.milliseconds("deactivating-timeout", 3.0),
            check_set=server.flag("checkset"),
            environment=_environment(server),
            tls=tls,
            domain=domain,
        )

    def text(self) -> str:
        """The file's text, of which `parse` makes an equal one: its own values, and the other keys of `domain`. Every
        adapter has its key `allow`, without which a C++ server does not start. Raises ConfigurationError."""
        others = self.domain
        if others.domain(SERVER).values:
            others = others.without(Configuration.of(others)._written())
        return others.merged(self._written()).text()

    def _written(self) -> Domain:
        server: dict[str, str] = {
            "app": self.app,
            "server": self.server,
            "nodename": self.node_name,
            "localip": self.local_ip,
            "local": str(self.local or ""),
            "node": self.node,
            "config": self.config,
            "log": self.log,
            "notify": self.notify,
            "basepath": self.base_path,
            "datapath": self.data_path,
            "logpath": self.log_path,
            "logsize": str(self.log_bytes),
            "lognum": str(self.log_files),
            "logLevel": self.log_level,
            "activating-timeout": _in_milliseconds(self.activating_seconds),
            "deactivating-timeout": _in_milliseconds(self.deactivating_seconds),
            "checkset": _yes(self.check_set),
            "env": ";".join(f"{name}={value}" for name, value in self.environment.items()),
            **_tls_keys(self.tls),
        }
        adapters = {adapter.name: _adapter_domain(adapter, self.tls) for adapter in self.adapters}
        return Domain(
            domains={
                "tars": Domain(
                    domains={
                        "application": Domain(
                            {
                                "enableset": _yes(bool(self.set_division)),
                                "setdivision": self.set_division or "NULL",
                            },
                            {
                                "server": Domain(_filled(server), adapters),
                                "client": _client_domain(self.client),
                            },
                        )
                    }
                )
            }
        )

    def changed(self, **values: object) -> Configuration:
        """The same with other values."""
        return dataclasses.replace(self, **values)  # type: ignore[arg-type]


class _Keys:
    """The keys of one domain, read as what they are. Every complaint names the key with its path."""

    def __init__(self, domain: Domain, path: str) -> None:
        self._values, self._path = domain.domain(path).values, path

    def text(self, key: str) -> str:
        return self._values.get(key, "")

    def flag(self, key: str, default: str = "n") -> bool:
        return (self.text(key) or default).lower() in ("y", "yes", "1", "true")

    def number(self, key: str, default: int) -> int:
        """Also `60*1000`, which is the default's text in TarsCpp."""

        def product(text: str) -> int:
            made = 1
            for factor in text.split("*"):
                made *= int(factor)
            if made < 0:
                raise ValueError(text)
            return made

        return self._read(key, default, product, "a whole number, 0 or more")

    def milliseconds(self, key: str, default_seconds: float) -> float:
        return self.number(key, round(default_seconds * 1000)) / 1000

    def size(self, key: str, default: int) -> int:
        def size(text: str) -> int:
            found = _SIZE.fullmatch(text)
            if found is None:
                raise ValueError(text)
            return int(found[1]) * _UNITS[found[2].lower()]

        return self._read(key, default, size, "a size such as 10M")

    def words(self, key: str) -> tuple[str, ...]:
        return tuple(filter(None, (word.strip() for word in re.split("[;,|]", self.text(key)))))

    def endpoint(self, key: str, local_ip: str) -> Endpoint:
        try:
            endpoint = Endpoint.parse(self.text(key))
        except EndpointError as error:
            raise self._wrong(key, str(error)) from None
        return dataclasses.replace(endpoint, host=local_ip) if endpoint.host == "localip" else endpoint

    def address(self, key: str) -> str:
        """An object's name, with endpoints or without."""

        def address(text: str) -> str:
            ObjectAddress.parse(text)
            return text

        try:
            return self._read(key, "", address, "an object address")
        except EndpointError as error:
            raise self._wrong(key, str(error)) from None

    def tls(self, default: TlsFiles) -> TlsFiles:
        return TlsFiles(
            self.text("ca") or default.ca,
            self.text("cert") or default.cert,
            self.text("key") or default.key,
            self.flag("verifyclient", _yes(default.verify_client)),
            self.text("ciphers") or default.ciphers,
        )

    def _read(self, key: str, default: T, read: Callable[[str], T], wanted: str) -> T:
        text = self.text(key)
        if not text:
            return default
        try:
            return read(text)
        except ValueError:
            raise self._wrong(key, f"wants {wanted}, not {text!r}") from None

    def _wrong(self, key: str, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path}<{key}>", problem)


def _adapters(domain: Domain, local_ip: str, tls: TlsFiles) -> list[AdapterConfiguration]:
    found = []
    for name, block in domain.domain(SERVER).domains.items():
        if "servant" not in block.values and "endpoint" not in block.values:
            continue
        keys = _Keys(domain, f"{SERVER}/{name}")
        if not keys.text("servant"):
            raise ConfigurationError(f"{SERVER}/{name}<servant>", "is missing")
        order = keys.words("order") or ("allow", "deny")
        found.append(
            AdapterConfiguration(
                name=name,
                servant=keys.text("servant"),
                endpoint=keys.endpoint("endpoint", local_ip),
                protocol=keys.text("protocol") or "tars",
                threads=max(1, keys.number("threads", 1)),
                handle_group=keys.text("handlegroup"),
                max_connections=max(1, keys.number("maxconns", 128)),
                queue_capacity=max(1, keys.number("queuecap", 1024)),
                queue_timeout_seconds=max(0.001, keys.milliseconds("queuetimeout", 10.0)),
                allow=keys.words("allow"),
                deny=keys.words("deny"),
                order=tuple(word.lower() for word in order),
                access_key=keys.text("accesskey"),
                secret_key=keys.text("secretkey"),
                tls=keys.tls(tls),
            )
        )
    return found


def _client(domain: Domain) -> ClientConfiguration:
    keys = _Keys(domain, CLIENT)
    objects = {}
    for name in domain.domain(CLIENT).domains:
        block = _Keys(domain, f"{CLIENT}/{name}")
        objects[name] = ObjectConfiguration(
            block.text("accesskey"), block.text("secretkey"), block.tls(TlsFiles())
        )
    return ClientConfiguration(
        locator=keys.address("locator"),
        stat=keys.address("stat"),
        property=keys.address("property"),
        module_name=keys.text("modulename"),
        sync_invoke_seconds=max(0.001, keys.milliseconds("sync-invoke-timeout", 3.0)),
        async_invoke_seconds=max(0.001, keys.milliseconds("async-invoke-timeout", 5.0)),
        connect_seconds=max(0.001, keys.milliseconds("connect-timeout", 1.5)),
        refresh_seconds=max(MINIMUM_REFRESH_SECONDS, keys.milliseconds("refresh-endpoint-interval", 60.0)),
        keep_alive_seconds=keys.milliseconds("keep-alive-interval", 0.0),
        report_seconds=max(MINIMUM_REPORT_SECONDS, keys.milliseconds("report-interval", 60.0)),
        report_timeout_seconds=max(0.001, keys.milliseconds("report-timeout", 5.0)),
        report_bytes=max(MINIMUM_REPORT_BYTES, keys.number("max-report-size", 1400)),
        sample_rate=keys.number("sample-rate", 1000),
        sample_count=keys.number("max-sample-count", 50),
        trace_bytes=keys.number("trace_param_max_len", 1) * 1024,
        objects=objects,
    )


def _environment(server: _Keys) -> dict[str, str]:
    """`A=1;B=2`, or with a bar between."""
    pairs = (pair.partition("=") for pair in re.split("[;|]", server.text("env")) if pair.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _adapter_domain(adapter: AdapterConfiguration, default: TlsFiles) -> Domain:
    keys = {
        "endpoint": str(adapter.endpoint),
        "servant": adapter.servant,
        "protocol": adapter.protocol,
        "threads": str(adapter.threads),
        "handlegroup": adapter.handle_group,
        "maxconns": str(adapter.max_connections),
        "queuecap": str(adapter.queue_capacity),
        "queuetimeout": _in_milliseconds(adapter.queue_timeout_seconds),
        "deny": ";".join(adapter.deny),
        "order": ",".join(adapter.order),
        "accesskey": adapter.access_key,
        "secretkey": adapter.secret_key,
        **(_tls_keys(adapter.tls) if adapter.tls != default else {}),
    }
    return Domain({**_filled(keys), "allow": ";".join(adapter.allow)})


def _client_domain(client: ClientConfiguration) -> Domain:
    keys = {
        "locator": client.locator,
        "stat": client.stat,
        "property": client.property,
        "modulename": client.module_name,
        "sync-invoke-timeout": _in_milliseconds(client.sync_invoke_seconds),
        "async-invoke-timeout": _in_milliseconds(client.async_invoke_seconds),
        "connect-timeout": _in_milliseconds(client.connect_seconds),
        "refresh-endpoint-interval": _in_milliseconds(client.refresh_seconds),
        "keep-alive-interval": _in_milliseconds(client.keep_alive_seconds),
        "report-interval": _in_milliseconds(client.report_seconds),
        "report-timeout": _in_milliseconds(client.report_timeout_seconds),
        "max-report-size": str(client.report_bytes),
        "sample-rate": str(client.sample_rate),
        "max-sample-count": str(client.sample_count),
        "trace_param_max_len": str(client.trace_bytes // 1024),
    }
    objects = {
        name: Domain(
            _filled({"accesskey": each.access_key, "secretkey": each.secret_key, **_tls_keys(each.tls)})
        )
        for name, each in client.objects.items()
    }
    return Domain(_filled(keys), objects)


def _tls_keys(tls: TlsFiles) -> dict[str, str]:
    if tls == TlsFiles():
        return {}
    return {
        "ca": tls.ca,
        "cert": tls.cert,
        "key": tls.key,
        "verifyclient": _yes(tls.verify_client),
        "ciphers": tls.ciphers,
    }


def _filled(keys: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in keys.items() if value}


def _in_milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def _yes(value: bool) -> str:
    return "y" if value else "n"
