"""What the block of an adapter means for a server: limits, who is let in, certificates, threads.

Source: TarsCpp `Application::setAdapter`. A service of several processes shares what the platform allows out between
them: connections and threads. The length of the queue is each process's own.
"""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass

from skerry.tars.access import AccessList
from skerry.tars.account import Account
from skerry.tars.limits import AdapterLimits
from skerry.tars.platform.configuration import AdapterConfiguration, TlsFiles
from skerry.tars.platform.domain import ConfigurationError
from skerry.tars.servant import Kind, Servant


@dataclass(frozen=True, slots=True)
class AdapterTerms:
    """How one process of the service serves an adapter."""

    limits: AdapterLimits
    access: AccessList
    threads: int
    tls: ssl.SSLContext | None
    account: Account | None = None


def terms_of(adapter: AdapterConfiguration, servant: Servant, workers: int = 1) -> AdapterTerms:
    """The terms for one of so many workers. Functions that all are plain run as many at a time as there are threads;
    what is more waits in the adapter's queue, as in TarsCpp. Raises ConfigurationError for certificates that cannot
    be used."""
    threads = share(adapter.threads, workers)
    limits = AdapterLimits(
        connections=share(adapter.max_connections, workers),
        queue=adapter.queue_capacity,
        queue_seconds=adapter.queue_timeout_seconds,
    )
    if all(method.kind is not Kind.TASK for method in servant.methods.values()):
        limits = AdapterLimits(
            connections=limits.connections,
            queue=limits.queue,
            queue_seconds=limits.queue_seconds,
            concurrency=threads,
        )
    account = Account(adapter.access_key, adapter.secret_key) if adapter.access_key else None
    return AdapterTerms(limits, access_of(adapter), threads, tls_of(adapter), account)


def share(number: int, workers: int) -> int:
    """What each of several gets of it, rounded up."""
    return max(1, math.ceil(number / workers))


def access_of(adapter: AdapterConfiguration) -> AccessList:
    """Its lists, in its order."""
    return AccessList(adapter.allow, adapter.deny, adapter.order[:1] == ("deny",))


def tls_of(adapter: AdapterConfiguration) -> ssl.SSLContext | None:
    """The context of an `ssl` endpoint, None for another one. Raises ConfigurationError."""
    if adapter.endpoint.protocol != "ssl":
        return None
    where = f"/tars/application/server/{adapter.name}"
    tls = adapter.tls
    if not tls.cert or not tls.key:
        raise ConfigurationError(where, "an ssl endpoint needs the keys cert and key, here or in <server>")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, tls, where)
    return context


def _load(context: ssl.SSLContext, tls: TlsFiles, where: str) -> None:
    try:
        context.load_cert_chain(tls.cert, tls.key)
        if tls.ca:
            context.load_verify_locations(tls.ca)
        if tls.verify_client:
            context.verify_mode = ssl.CERT_REQUIRED
        if tls.ciphers:
            context.set_ciphers(tls.ciphers)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (tls.cert, tls.key, tls.ca)))
        raise ConfigurationError(where, f"the certificates cannot be used ({files}): {error}") from None
