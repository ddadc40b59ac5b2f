"""Looks for the known traps of RabbitMQ versions and settings, by trying them, and says how to get out.

Everything that it makes has a name ending in `.doctor-XXXX` and is deleted again. Not here: whether the namespace's
own queues are as they should be (operations.check, which is part of the result).
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import replace
from urllib.parse import urlsplit

from aiormq.exceptions import AMQPError, ChannelPreconditionFailed

from skerry.backends.rabbitmq.link import Link
from skerry.backends.rabbitmq.operations import check, connected
from skerry.backends.rabbitmq.settings import MIB, RabbitSettings
from skerry.backends.rabbitmq.topology import Topology
from skerry.bus.backend import Finding
from skerry.errors import Disconnected, SettingsError
from skerry.loop.sockets import address_text

OLDEST = (3, 10)
"""The first RabbitMQ with at-least-once dead letters on quorum queues."""
_REDELIVERIES = 25
_PATIENCE_SECONDS = 15.0


async def doctor(settings: RabbitSettings) -> list[Finding]:
    """Everything found, good news too. Never raises for what is wrong with the broker."""
    findings = [*_look_at_settings(settings), *await _look_at_cluster(settings)]
    try:
        async with connected(settings) as link:
            findings += _look_at_version(link)
            findings += await _look_at_alarms(link)
            if link.blocked is None:
                findings += await _look_at_delivery_limit(link, settings)
                findings += await _look_at_size(link, settings)
        findings += [_problem(problem) for problem in await check(settings)]
    except SettingsError as error:
        findings.append(Finding("error", error.problem, _fix(error.problem)))
    except (Disconnected, TimeoutError) as error:
        findings.append(
            Finding("error", f"RabbitMQ: {error}", "start the broker, or set SKERRY_TRANSPORT right")
        )
    return findings


def _fix(problem: str) -> str:
    return "give this user its rights" if "ACCESS_REFUSED" in problem else "set SKERRY_TRANSPORT right"


def _problem(problem: str) -> Finding:
    if "set aside" in problem:
        return Finding("warning", problem, "start a consumer; look for policies that match our queues")
    if "is missing" in problem:
        return Finding("error", problem, "skerry infra create")
    if "exists, but" in problem:
        is_lost = "nobody works on" in problem
        fix = "start a consumer as said, then skerry infra tidy" if is_lost else "skerry infra tidy"
        return Finding("error" if is_lost else "warning", problem, fix)
    return Finding("error", problem, "empty it, then skerry infra drop --broker-only and skerry infra create")


def _look_at_settings(settings: RabbitSettings) -> list[Finding]:
    parts = urlsplit(settings.url)
    local = all(host in ("localhost", "127.0.0.1", "::1") for host, _ in settings.hosts)
    findings = []
    if parts.scheme == "amqp" and not local:
        findings.append(
            Finding("warning", "commands and the password travel unencrypted", "use amqps:// with cafile=...")
        )
    if parts.username in (None, "guest") and not local:
        findings.append(
            Finding(
                "warning",
                "the user guest is let in from localhost only",
                "make a user and put it into the URL",
            )
        )
    return findings


async def _look_at_cluster(settings: RabbitSettings) -> list[Finding]:
    """Of a list of brokers: each by itself, and what cannot be asked of them."""
    if len(settings.hosts) < 2:
        return []
    findings: list[Finding] = []
    clusters: dict[str, str] = {}
    for host, port in settings.hosts:
        place = address_text(host, port)
        try:
            async with connected(replace(settings, url=settings.url_of(host, port))) as link:
                clusters[place] = str(link.server_properties.get("cluster_name", "?"))
        except (Disconnected, SettingsError, TimeoutError) as error:
            findings.append(
                Finding("warning", f"of the list of brokers {error}", "start it, or leave it out")
            )
    if len(set(clusters.values())) > 1:
        said = ", ".join(f"{place} of {name}" for place, name in clusters.items())
        findings.append(
            Finding("error", f"the list names brokers of several clusters: {said}", "name one cluster")
        )
    findings.append(
        Finding(
            "ok",
            f"a list of {len(settings.hosts)} brokers; AMQP does not tell if others take over within 10 s: "
            "rabbitmqctl eval '{net_kernel:get_net_ticktime(), application:get_env(kernel, net_setuptime)}.' has to be "
            "{5,{ok,1}} on each (docs/rabbitmq.md; the default is 60 and 7)",
        )
    )
    return findings


def _look_at_version(link: Link) -> list[Finding]:
    properties = link.server_properties
    text = str(properties.get("version", "?"))
    product = str(properties.get("product", "?"))
    found = re.match(r"(\d+)\.(\d+)", text)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if product != "RabbitMQ" or version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return [Finding("error", f"the broker is {product} {text}", f"use RabbitMQ {oldest} or newer")]
    findings = [Finding("ok", f"RabbitMQ {text}")]
    if version < (4, 0):
        findings.append(
            Finding(
                "ok",
                "before 4.0 a delivery limit of -1 means 0, so the first redelivery is a dead letter; Skerry says a "
                "large number, which is right on every version",
            )
        )
    capabilities = properties.get("capabilities") or {}
    wanted = ("publisher_confirms", "basic.nack", "consumer_cancel_notify", "connection.blocked")
    missing = [name for name in wanted if not capabilities.get(name)]
    if missing:
        what = f"the broker does not offer {', '.join(missing)}"
        findings.append(Finding("error", what, "ask whether something between is no RabbitMQ"))
    return findings


async def _look_at_alarms(link: Link) -> list[Finding]:
    """A broker with an alarm says so when something is published."""
    channel = await link.channel()
    link.publish(channel, "", f"nobody.doctor-{secrets.token_hex(4)}", "skerry.doctor", b"{}")
    for _ in range(20):
        if link.blocked is not None:
            fix = "free memory or disk of the broker; see vm_memory_high_watermark and disk_free_limit"
            return [Finding("error", f"the broker takes no messages: {link.blocked}", fix)]
        await asyncio.sleep(0.05)
    return [Finding("ok", "no memory or disk alarm")]


async def _look_at_delivery_limit(link: Link, settings: RabbitSettings) -> list[Finding]:
    """Whether a command survives many redeliveries, on a queue whose name every policy for ours matches too."""
    queue = Topology(settings).partition(0)
    name = f"{queue.name}.doctor-{secrets.token_hex(4)}"
    arguments = {k: v for k, v in queue.arguments.items() if not k.startswith("x-dead-letter")}
    channel = await link.channel(confirms=True)
    confirms: asyncio.Queue[bool] = asyncio.Queue()
    channel.on_confirm = lambda tag, multiple, taken: confirms.put_nowait(taken)
    await channel.queue_declare(name, durable=True, arguments=arguments, timeout=settings.connect_seconds)
    try:
        link.publish(channel, "", name, "skerry.doctor", b"{}", durable=True)
        try:
            taken = await asyncio.wait_for(confirms.get(), _PATIENCE_SECONDS)
        except TimeoutError:
            taken = False
        if not taken:
            return [
                Finding("error", f"a quorum queue gave no confirm in {_PATIENCE_SECONDS:g} s", _NO_LEADER)
            ]
        for turn in range(_REDELIVERIES):
            if not await _returned(link, name, settings):
                what = (
                    f"a command was gone after {turn} redeliveries: a delivery limit holds for {queue.name}"
                )
                return [Finding("error", what, "remove `delivery-limit` from the policies that match it")]
    finally:
        if not link.lost.done():
            await channel.queue_delete(name, timeout=settings.connect_seconds)
    return [Finding("ok", f"a command survives {_REDELIVERIES} redeliveries")]


_NO_LEADER = "look at `rabbitmq-queues quorum_status`; a queue without a leader needs a majority of its nodes"


async def _returned(link: Link, queue: str, settings: RabbitSettings) -> bool:
    """Receive the one message and close the channel on it, as a consumer that dies does."""
    channel = await link.channel()
    came = asyncio.Event()
    channel.on_delivery = lambda incoming: came.set()
    await channel.basic_consume(queue, _ignore, timeout=settings.connect_seconds)
    try:
        await asyncio.wait_for(came.wait(), 3.0)
    except TimeoutError:
        return False
    finally:
        await link.part(channel)
    return True


async def _ignore(message: object) -> None:
    """aiormq wants a callback."""


async def _look_at_size(link: Link, settings: RabbitSettings) -> list[Finding]:
    """Whether the largest message that we would send is taken: to nobody, so that it leaves no trace."""
    channel = await link.loose_channel()
    size = settings.max_message_bytes
    try:
        await channel.basic_publish(
            bytes(size), routing_key=f"nobody.doctor-{secrets.token_hex(4)}", timeout=_PATIENCE_SECONDS
        )
        await channel.exchange_declare(
            "amq.direct", passive=True, timeout=_PATIENCE_SECONDS
        )  # an answer in order
        await channel.close()
    except (ChannelPreconditionFailed, AMQPError, RuntimeError) as error:
        fix = "raise max_message_size in rabbitmq.conf, or give the transport a body store for large commands"
        return [Finding("warning", f"a message of {size / MIB:g} MiB is refused: {error}", fix)]
    return [Finding("ok", f"messages of {size / MIB:g} MiB are taken")]
