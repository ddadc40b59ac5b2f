"""Names and arguments of everything that Skerry keeps on a broker, how it is declared, and what a mismatch means.

    {ns}.commands           direct exchange      key p0, p1, ... -> the partition's queue
    {ns}.commands.v1.p0 ..  quorum queues        one active consumer, no delivery limit
    {ns}.dead               direct exchange and quorum queue: the safety net below the journal's dead letters
    {ns}.events             direct exchange      key `all` = every process, key NAME = one process

Every argument is declared, as a default that changed became lost messages before (the delivery limit of 20 in
RabbitMQ 4.0). There is no alternate exchange on purpose: what one takes is confirmed and not returned, and the sender
would hold it for durable in its queue. Not here: the connection (link.py), the operator's commands (operations.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.errors import SettingsError

NO_DELIVERY_LIMIT = 1_000_000_000
"""Redeliveries that no command reaches: limits are ours (the journal's attempts). Said as a number, as no other way
holds on all brokers: unsaid it is 20 from RabbitMQ 4.0, and -1, which is unlimited there, is taken for 0 by 3.x: the
first redelivery goes to the dead letters (seen on 3.10.8)."""

EVERYBODY = "all"
"""The routing key that every process's queue is bound with."""

_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<name>[^']*)' for (?P<kind>queue|exchange) '(?P<object>[^']*)' in vhost "
    r"'(?P<vhost>[^']*)': received (?P<wanted>.*?) but current is (?P<found>.*)$",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Exchange:
    name: str
    kind: str = "direct"


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue, its arguments, and the exchange and key it is bound with."""

    name: str
    arguments: dict[str, Any]
    exchange: str
    key: str


class Topology:
    """What one namespace has on the broker."""

    def __init__(self, settings: RabbitSettings) -> None:
        ns = settings.namespace
        self.commands = Exchange(f"{ns}.commands")
        self.dead = Exchange(f"{ns}.dead")
        self.events = Exchange(f"{ns}.events")
        self.dead_queue = Queue(
            f"{ns}.dead",
            {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT, "x-overflow": "reject-publish"},
            self.dead.name,
            "dead",
        )
        self.generation = settings.generation
        self.partitions = [self.partition(number) for number in range(settings.partitions)]
        self.events_backlog_bytes = settings.events_backlog_bytes

    @property
    def exchanges(self) -> list[Exchange]:
        return [self.commands, self.dead, self.events]

    @property
    def queues(self) -> list[Queue]:
        """The durable ones. The dead queue first: the others point to it."""
        return [self.dead_queue, *self.partitions]

    def partition(self, number: int) -> Queue:
        arguments = {
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-delivery-limit": NO_DELIVERY_LIMIT,
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": self.dead.name,
            "x-dead-letter-routing-key": self.dead_queue.key,
            "x-dead-letter-strategy": "at-least-once",
        }
        name = f"{self.commands.name}.v{self.generation}.p{number}"
        return Queue(name, arguments, self.commands.name, self.key(number))

    def key(self, partition: int) -> str:
        return f"v{self.generation}.p{partition}"

    @property
    def process_queue_arguments(self) -> dict[str, Any]:
        """Of the exclusive queue that each process has while it is connected: classic (a quorum queue cannot be
        exclusive), bounded by bytes, the oldest hints go first."""
        return {
            "x-queue-type": "classic",
            "x-max-length-bytes": self.events_backlog_bytes,
            "x-overflow": "drop-head",
        }

    async def declare(self, channel: AbstractChannel, seconds: float) -> None:
        """Make what is missing. Raises SettingsError when something exists otherwise (the channel is dead then)."""
        try:
            for exchange in self.exchanges:
                await declare_exchange(channel, exchange, seconds)
            for queue in self.queues:
                await declare_queue(channel, queue, seconds)
        except ChannelPreconditionFailed as error:
            raise SettingsError("transport", explain_mismatch(str(error))) from error
        except ChannelAccessRefused as error:
            raise SettingsError("transport", explain_refusal(str(error))) from error

    async def open_process_queue(self, channel: AbstractChannel, name: str, seconds: float) -> str:
        """Declare and bind the queue of the process `name`; returns the queue's name, chosen by the broker (a
        known name would race with its own predecessor after a reconnect)."""
        declared = await channel.queue_declare(
            "", exclusive=True, auto_delete=True, arguments=self.process_queue_arguments, timeout=seconds
        )
        assert declared.queue is not None
        for key in (name, EVERYBODY):
            await channel.queue_bind(declared.queue, self.events.name, key, timeout=seconds)
        return declared.queue


async def declare_exchange(channel: AbstractChannel, exchange: Exchange, seconds: float) -> None:
    await channel.exchange_declare(exchange.name, exchange_type=exchange.kind, durable=True, timeout=seconds)


async def declare_queue(channel: AbstractChannel, queue: Queue, seconds: float) -> None:
    await channel.queue_declare(queue.name, durable=True, arguments=queue.arguments, timeout=seconds)
    await channel.queue_bind(queue.name, queue.exchange, queue.key, timeout=seconds)


async def depth(channel: AbstractChannel, queue: str, seconds: float) -> tuple[int, int] | None:
    """(messages ready, consumers) of a queue; None when it does not exist (the channel is dead then)."""
    try:
        declared = await channel.queue_declare(queue, passive=True, timeout=seconds)
    except ChannelNotFoundEntity:
        return None
    return declared.message_count or 0, declared.consumer_count or 0


def explain_mismatch(text: str) -> str:
    """The broker's PRECONDITION_FAILED as advice."""
    found = _INEQUIVALENT.search(text)
    if found is None:
        return f"the broker refuses the declaration: {text}"
    wanted, current = _value(found["wanted"]), _value(found["found"])
    what = f"{found['kind']} '{found['object']}' in vhost '{found['vhost']}'"
    return (
        f"{what} was made with {found['name']} = {current}, Skerry needs {wanted}. The broker cannot change it: "
        f"stop the senders, let the consumers empty it, stop them, delete what is on the broker (`skerry infra drop "
        f"--broker-only`) and create it again (`skerry infra create`); or choose another namespace"
    )


def explain_refusal(text: str) -> str:
    """The broker's ACCESS_REFUSED as advice."""
    return f"{text}: a process configures, writes and reads what is its namespace's (rabbitmqctl set_permissions)"


def _value(text: str) -> str:
    """`the value 'quorum' of type 'longstr'` -> `'quorum'`; `none` stays."""
    value = re.search(r"'([^']*)'", text)
    return f"'{value[1]}'" if value else text.strip()
