"""Create, check, drop and doctor on a real broker."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import pytest

from skerry.backends.rabbitmq.doctor import doctor
from skerry.backends.rabbitmq.link import Link
from skerry.backends.rabbitmq.operations import check, create, drop, tidy
from skerry.backends.rabbitmq.settings import MIB, RabbitSettings
from skerry.backends.rabbitmq.topology import Topology, explain_mismatch
from skerry.backends.rabbitmq.transport import RabbitTransport
from skerry.bus.deadletter import SET_ASIDE
from skerry.errors import SettingsError, TransportError
from skerry.testing.broker import PrivateBroker, free_ports
from skerry.testing.transports import envelope, numbers, started, take

pytestmark = pytest.mark.service("rabbitmq")


@pytest.fixture
def settings(rabbitmq: PrivateBroker) -> RabbitSettings:
    return RabbitSettings(rabbitmq.url, f"o{secrets.token_hex(4)}", partitions=2)


async def declare(settings: RabbitSettings, name: str, **arguments: str) -> None:
    """A queue as somebody else made it."""
    link = await Link.open(settings, "test")
    try:
        channel = await link.loose_channel()
        await channel.queue_declare(
            name, durable=True, arguments={k.replace("_", "-"): v for k, v in arguments.items()}
        )
    finally:
        await link.close(polite=True)


async def found(settings: RabbitSettings) -> list[str]:
    """The problems, as soon as there are any."""
    async with asyncio.timeout(60):
        while not (problems := await check(settings)):  # noqa: ASYNC110 (the broker tells nobody)
            await asyncio.sleep(0.05)
    return problems


async def test_create_check_drop(settings: RabbitSettings) -> None:
    """Checking names what is missing, creating makes it, once; dropping leaves nothing."""
    assert len(await check(settings)) == 6
    made = await create(settings)
    assert sorted(line.split()[1] for line in made) == sorted(
        [f"{settings.namespace}.{name}" for name in ("commands", "dead", "events", "dead")]
        + [f"{settings.namespace}.commands.v1.p{n}" for n in (0, 1)]
    )
    assert await check(settings) == []
    assert await create(settings) == []
    assert len(await drop(settings)) == 6
    assert all("is missing" in problem for problem in await check(settings))
    assert await drop(settings) == []


async def test_namespaces_live_beside_each_other(settings: RabbitSettings) -> None:
    """Dropping one namespace leaves another alone."""
    other = replace(settings, namespace=f"{settings.namespace}x")
    await create(settings)
    await create(other)
    await drop(settings)
    assert await check(other) == []
    await drop(other)


async def test_drop_refuses_while_commands_wait(settings: RabbitSettings) -> None:
    """Nothing is deleted while a command waits, unless it is forced."""
    process = RabbitTransport(settings)
    async with started(process):
        await process.send([envelope(1)], 1)
    with pytest.raises(TransportError, match=r"v1\.p1 holds 1 messages"):
        await drop(settings)
    assert await check(settings) == []
    assert any("(1 messages)" in line for line in await drop(settings, force=True))


async def test_a_queue_made_otherwise_is_explained(settings: RabbitSettings) -> None:
    """A queue with other arguments: `check` and `start` say which argument, what it is and what to do."""
    name = Topology(settings).partition(0).name
    await declare(settings, name, x_queue_type="classic")
    problems = await check(settings)
    mismatch = [problem for problem in problems if "was made with" in problem]
    assert len(mismatch) == 1
    assert f"queue '{name}' in vhost '/'" in mismatch[0]
    assert f"x-dead-letter-exchange = none, Skerry needs '{settings.namespace}.dead'" in mismatch[0]
    with pytest.raises(SettingsError, match="skerry infra drop --broker-only"):
        await RabbitTransport(settings).start()
    with pytest.raises(SettingsError, match="was made with"):
        await create(settings)


async def test_a_queue_of_defaults_is_told_from_ours(settings: RabbitSettings) -> None:
    """The delivery limit counts: a quorum queue made without it (20 from RabbitMQ 4.0) is a mismatch."""
    queue = Topology(settings).partition(0)
    await create(settings)
    await drop(settings)
    link = await Link.open(settings, "test")
    channel = await link.loose_channel()
    arguments = {k: v for k, v in queue.arguments.items() if k != "x-delivery-limit"}
    await channel.queue_declare(queue.name, durable=True, arguments=arguments)
    await link.close(polite=True)
    problems = await check(settings)
    assert any("x-delivery-limit = none, Skerry needs '1000000000'" in p for p in problems), problems


async def test_a_partition_too_many_is_seen(settings: RabbitSettings) -> None:
    """Fewer partitions than before leave queues that nobody consumes: `check` names them."""
    await create(settings)
    fewer = replace(settings, partitions=1)
    [problem] = await check(fewer)
    assert problem.startswith(f"queue {settings.namespace}.commands.v1.p1 exists, but partitions = 1")
    assert len(await drop(fewer)) == 6


async def test_the_number_of_partitions_changes_without_losing_a_command(
    settings: RabbitSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """By a new generation of queues: what waits in the old ones is named by `check` and by every consumer that starts,
    `tidy` leaves it, and deletes the old queues once they were emptied."""
    process = RabbitTransport(settings)
    async with started(process):
        await process.send([envelope(1)], 1)
    more = replace(settings, partitions=3, generation=2)
    await create(more)
    assert [problem.partition(":")[2] for problem in await check(more)] == [
        " it is empty and unused, `skerry infra tidy` deletes it",
        " it holds 1 messages that nobody works on; run a consumer with the former partitions and generation until it "
        "is empty",
    ]
    assert [line.split()[:3] for line in await tidy(more)] == [
        ["left", "queue", f"{settings.namespace}.commands.v1.p1"]
    ]
    newer = RabbitTransport(more)
    async with started(newer):
        await newer.send([envelope(2)], 2)
        await (await newer.commands(2)).close()
    assert f"{settings.namespace}.commands.v1.p1 exists, but generation = 2: it holds 1" in caplog.text

    former = RabbitTransport(settings)
    async with started(former):
        commands = await former.commands(1)
        await take(commands, 1)
        assert "consumers of other settings" in "".join(await tidy(more))
        await commands.close()
    assert await tidy(more) == [f"dropped queue {settings.namespace}.commands.v1.p{n}" for n in (1, 0)]
    assert await check(more) == await tidy(more) == []
    assert any("v2.p2 (1 messages)" in line for line in await drop(more, force=True))


async def test_what_the_broker_sets_aside_is_seen_and_given(
    settings: RabbitSettings, rabbitmq: PrivateBroker
) -> None:
    """A policy made elsewhere lets commands expire: `check` and doctor tell how many were set aside; a consumer gets
    them whole, with the broker's reason, and acknowledged they are gone."""
    name = f"expiry-{settings.namespace}"
    process = RabbitTransport(settings)
    async with started(process):
        await rabbitmq.control(
            "set_policy",
            "--apply-to",
            "queues",
            name,
            f"^{settings.namespace}.commands",
            '{"message-ttl": 1}',
        )
        try:
            await process.send([envelope(1), envelope(2)], 1)
            problems = await found(settings)
        finally:
            await rabbitmq.control("clear_policy", name)
        [problem] = problems
        assert problem.startswith(
            f"queue {settings.namespace}.dead holds 1 messages that the broker set aside"
        )
        findings = await doctor(replace(settings, max_message_bytes=1 * MIB))
        assert [(f.level, f.what) for f in findings if f.level != "ok"] == [("warning", problem)]
        commands = await process.set_aside()
        [delivery] = await take(commands, 2)
        await commands.close()
        assert numbers([delivery]) == [1, 2]
        why = f"expired in {Topology(settings).partition(1).name}"
        assert [e.headers[SET_ASIDE] for e in delivery.envelopes] == [why, why]
    assert await check(settings) == []


async def test_doctor_finds_a_healthy_broker(settings: RabbitSettings) -> None:
    """All is well: a version, no alarm, redeliveries, message size; and nothing is left behind."""
    await create(settings)
    findings = await doctor(settings)
    assert [f for f in findings if f.level != "ok"] == []
    assert any(f.what.startswith("RabbitMQ 3.") or f.what.startswith("RabbitMQ 4.") for f in findings)
    assert any("survives 25 redeliveries" in f.what for f in findings)
    assert any("16 MiB are taken" in f.what for f in findings)


async def test_doctor_finds_what_is_missing(settings: RabbitSettings) -> None:
    """Queues that are not there are errors with the command that makes them."""
    findings = await doctor(replace(settings, max_message_bytes=1 * MIB))
    missing = [f for f in findings if f.level == "error"]
    assert len(missing) == 6
    assert {f.fix for f in missing} == {"skerry infra create"}
    assert await check(settings) == [f.what for f in missing]


async def test_doctor_finds_a_policy_that_limits_deliveries(
    settings: RabbitSettings, rabbitmq: PrivateBroker
) -> None:
    """A policy with a delivery limit beats the queue's argument: found by trying, with the way out."""
    name = f"limit-{settings.namespace}"
    await create(settings)
    await rabbitmq.control(
        "set_policy", "--apply-to", "queues", name, f"^{settings.namespace}", '{"delivery-limit": 3}'
    )
    try:
        findings = await doctor(replace(settings, max_message_bytes=1 * MIB))
    finally:
        await rabbitmq.control("clear_policy", name)
    [error] = [f for f in findings if f.level == "error"]
    assert "delivery limit holds" in error.what
    assert "policies" in error.fix


async def test_doctor_says_when_there_is_no_broker() -> None:
    """No broker, or a wrong password, is a finding and no exception."""
    [port] = free_ports(1)
    [finding] = await doctor(RabbitSettings(f"amqp://guest:guest@127.0.0.1:{port}/"))
    assert finding.level == "error"
    assert "cannot be reached" in finding.what


async def test_doctor_looks_at_each_broker_of_a_list(settings: RabbitSettings) -> None:
    """The list works with one of two away; it is named, and what AMQP does not tell is said."""
    [port] = free_ports(1)
    listed = replace(settings, url=settings.url.replace("@", f"@127.0.0.1:{port},"))
    await create(listed)
    findings = await doctor(listed)
    [away] = [f for f in findings if f.level != "ok"]
    assert away.level == "warning"
    assert f"127.0.0.1:{port} cannot be reached" in away.what
    assert any("net_ticktime" in f.what for f in findings)
    assert not any("net_ticktime" in f.what for f in await doctor(settings))
    await drop(listed)


async def test_doctor_says_when_the_password_is_wrong(settings: RabbitSettings) -> None:
    """A refused login names neither password nor user's secret."""
    findings = await doctor(replace(settings, url=settings.url.replace("guest:guest", "guest:secret")))
    [error] = [f for f in findings if f.level == "error"]
    assert "refuses the user or the password" in error.what
    assert "secret" not in repr(findings)


def test_other_refusals_are_passed_on() -> None:
    """What is no mismatch of arguments is said as the broker says it."""
    assert "something else" in explain_mismatch("PRECONDITION_FAILED - something else")


async def test_drop_refuses_while_processes_are_connected(settings: RabbitSettings) -> None:
    """A process that runs would declare all of it again: nothing is deleted, unless it is forced."""
    process = RabbitTransport(settings)
    async with started(process):
        with pytest.raises(TransportError, match="processes are connected"):
            await drop(settings)
        assert await check(settings) == []
    assert len(await drop(settings)) == 6


async def test_rights_that_are_missing_are_named(settings: RabbitSettings, rabbitmq: PrivateBroker) -> None:
    """A start ends at once, and says what is refused; with the rights that the page names everything works."""
    user, namespace = f"u{settings.namespace}", settings.namespace
    await rabbitmq.control("add_user", user, "x")
    try:
        limited = replace(
            settings, url=settings.url.replace("guest:guest", f"{user}:x"), max_message_bytes=1 * MIB
        )
        await rabbitmq.control("set_permissions", user, "^other", "^other", "^other")
        process = RabbitTransport(limited)
        try:
            with pytest.raises(SettingsError, match=r"ACCESS_REFUSED .* set_permissions"):
                await process.start()
        finally:
            await process.stop()
        with pytest.raises(SettingsError, match=r"ACCESS_REFUSED .* set_permissions"):
            await create(limited)
        [finding] = [f for f in await doctor(limited) if f.level == "error"]
        assert finding.fix == "give this user its rights"
        own = rf"^({namespace}\.|amq\.gen-)"
        await rabbitmq.control("set_permissions", user, own, rf"^({namespace}\.|amq\.(gen-|default$))", own)
        await create(limited)
        process = RabbitTransport(limited)
        async with started(process):
            await process.send([envelope(1)], 1)
            await take(await process.commands(1), 1)
        assert [f.what for f in await doctor(limited) if f.level != "ok"] == []
        await drop(limited)
    finally:
        await rabbitmq.control("delete_user", user)
