"""The registry: where objects are, as `tars.tarsregistry.QueryObj` says, and as it said before.

`RegistryLocator` is the `Locator` of a communicator: it asks for the endpoints in the caller's set or group, and hands
out the last good answer (of this process, else of the cache file) when the registry cannot be asked or knows none at
the moment. Known endpoints survive the registry that way. When it is asked is decided in `tars/route.py`.

Source: TarsCpp `EndpointManager`, `AppCache`. After a crash an active list is empty for seconds: no reason to forget.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from skerry.tars.communicator import Communicator
from skerry.tars.endpoint import Endpoint
from skerry.tars.errors import TarsError
from skerry.tars.locator import Located
from skerry.tars.platform.cache import EndpointCache
from skerry.tars.platform.configuration import Configuration
from skerry.tars.platform.identity import Identity, identity_of
from skerry.tars.platform.interfaces import interfaces
from skerry.tars.settings import ClientSettings

log = logging.getLogger("skerry.tars.platform")

QUERY: Any = interfaces("QueryF")
ASK_SECONDS = 5.0
STALE_SECONDS, LONG_STALE_SECONDS, PATIENT_FAILURES = 2.0, 30.0, 3
PROTOCOLS = {0: "udp", 1: "tcp", 2: "ssl"}


class RegistryRefused(TarsError):
    """The registry answered with a code of its own: a set that it does not know, mostly."""


class RegistryLocator:
    """Endpoints from the registry at `address` (`tars.tarsregistry.QueryObj@tcp -h ... -p 17890[:tcp ...]`).

    `identity` says whose set and group count. `cache` remembers answers beyond the process.
    """

    def __init__(
        self,
        address: str,
        identity: Identity | None = None,
        cache: EndpointCache | None = None,
        timeout_seconds: float = ASK_SECONDS,
    ) -> None:
        self._identity, self._cache = identity, cache
        self._known: dict[str, Located] = {}
        self._failures = 0
        self._communicator = Communicator(settings=ClientSettings(), timeout_seconds=timeout_seconds)
        self.problem = ""  # why the registry could not be asked the last time
        self.replace(address)

    def replace(self, address: str) -> None:
        """Ask another registry from now on (`tars.reloadlocator`). EndpointError for a bad address."""
        context = dict(self._identity.context) if self._identity else {}
        self._query: Any = self._communicator.proxy(QUERY.QueryF, address, context=context)
        self.address = address

    async def find(self, name: str) -> Located:
        """The endpoints of `name`. An empty or failed answer gives what was known before, to be asked again soon; with
        nothing known, an empty answer is empty and a failure is raised."""
        try:
            answer = await self._ask(name)
        except TarsError as error:
            self._failures += 1
            self.problem = str(error)
            known = self._before(name)
            if known is None:
                raise
            if self._failures <= PATIENT_FAILURES:
                log.warning("%s: the registry cannot be asked, going on with what is known: %s", name, error)
            return known
        self.problem, self._failures = "", 0
        if answer.active:
            if self._known.get(name) != answer:
                self._known[name] = answer
                if self._cache is not None:
                    self._cache.put(name, answer)
            return answer
        return self._before(name) or answer

    async def close(self) -> None:
        """Close the connections to the registry."""
        await self._communicator.close()

    def _before(self, name: str) -> Located | None:
        """The last good answer, marked as one to ask again about."""
        known = self._known.get(name)
        if known is None and self._cache is not None:
            known = self._cache.get(name)
        again = STALE_SECONDS if self._failures < PATIENT_FAILURES else LONG_STALE_SECONDS
        return known and Located(known.active, known.inactive, again)

    async def _ask(self, name: str) -> Located:
        division = self._identity.set_division if self._identity else ""
        if division:
            result = await self._query.findObjectByIdInSameSet(name, division)
        else:
            result = await self._query.findObjectByIdInSameGroup(name)
        if result.ret != 0 and not (division and not result.activeEp):
            raise RegistryRefused(f"the registry answered {result.ret} to the search for {name}")
        return Located(_endpoints(result.activeEp), _endpoints(result.inactiveEp))


def endpoint_of(row: Any) -> Endpoint:
    """An EndpointF as an Endpoint. Real rows have weight -1 and weight type 0; a weight counts only with type 1."""
    static = row.weightType == 1
    return Endpoint(
        protocol=PROTOCOLS.get(row.istcp, "tcp"),
        host=row.host,
        port=row.port,
        timeout_milliseconds=row.timeout,
        grid=row.grid,
        qos=row.qos,
        weight=(100 if row.weight < 0 else min(row.weight, 100)) if static else -1,
        weight_type=1 if static else 0,
        auth=1 if row.authType else 0,
        set_division=row.setId,
    )


def row_of(endpoint: Endpoint, node: str = "") -> Any:
    """An Endpoint as the registry's row (EndpointF)."""
    numbers = {protocol: number for number, protocol in PROTOCOLS.items()}
    return QUERY.EndpointF(
        host=endpoint.host,
        port=endpoint.port,
        timeout=endpoint.timeout_milliseconds,
        istcp=numbers[endpoint.protocol],
        grid=endpoint.grid,
        groupworkid=-1,
        grouprealid=-1,
        setId=endpoint.set_division,
        qos=endpoint.qos,
        weight=endpoint.weight,
        weightType=endpoint.weight_type,
        authType=endpoint.auth,
        nodeName=node or endpoint.host,
    )


def _endpoints(rows: Sequence[Any]) -> tuple[Endpoint, ...]:
    found = [endpoint_of(row) for row in rows if row.host and 0 < row.port < 65536]
    return tuple(dict.fromkeys(found))


def locator_of(configuration: Configuration, cache: EndpointCache | None = None) -> RegistryLocator | None:
    """What finds objects for this server; None when its file names no registry."""
    address = configuration.client.locator
    return RegistryLocator(address, identity_of(configuration), cache) if address else None
