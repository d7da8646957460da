"""`dragoman keys`: make, list, change and rotate client keys, and set limits, in the Redis that the gateway uses.

Run it with the gateway's own environment: GATEWAY_REDIS_URL, and GATEWAY_SECRET where one is set. Without a Redis URL
it uses the embedded server of `dragoman dev` on this machine.
"""

import getpass
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import structlog
import typer

from gateway.access.allowances import allowance_of, reset_budget
from gateway.access.configured import to_client_keys
from gateway.access.keys import Client, ClientKeys
from gateway.access.records import NANO, Allowance, KeyRecord, to_dollars
from gateway.access.roster import to_roster
from gateway.access.store import GRACE_SECONDS, KEY, MAX_GRACE_SECONDS, AccessStore, Actor, describe_key
from gateway.cli.console import CommandError, Console, Exit, run_async
from gateway.cli.key_options import (
    Addresses,
    Batches,
    BudgetUsd,
    Cache,
    Concurrency,
    Data,
    Expires,
    InputTpm,
    Json,
    MaxTokens,
    Models,
    NotBefore,
    OutputTpm,
    Params,
    PeriodOption,
    Priority,
    Role,
    Rpm,
    ShrinkFloor,
    Window,
    Zone,
    named,
    rights,
    to_allowance,
    to_expiry,
    to_role,
    to_scope,
)
from gateway.errors import GatewayError
from gateway.redis.connections import EMBEDDED
from gateway.redis.embedded import EmbeddedServerError
from gateway.settings import SettingsError, load_settings
from gateway.wiring import open_access_store

Result = TypeVar("Result")
DEV_ADMITS: Final = (
    "`dragoman dev` admits everyone on this machine and applies no key's limits, unless started with GATEWAY_AUTH=keys"
)
AnyScope = Annotated[str, typer.Argument(help="deployment, tenant:NAME, user:NAME or key:NAME.")]

keys = typer.Typer(help="Client keys, with their limits and budgets.", no_args_is_help=True)
users = typer.Typer(help="People who sign in or are named by keys.", no_args_is_help=True)
limits = typer.Typer(help="Limits and budgets of a tenant, a user, or the whole deployment.", no_args_is_help=True)


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    tenant: Annotated[str, typer.Option(help="The tenant that it acts for.")] = "default",
    user: Annotated[str, typer.Option(help="The person who holds the key.")] = "",
    rpm: Rpm = None,
    input_tpm: InputTpm = None,
    output_tpm: OutputTpm = None,
    concurrency: Concurrency = None,
    budget_usd: BudgetUsd = None,
    period: PeriodOption = "month",
    time_zone: Zone = "UTC",
    window_seconds: Window = 0,
    model: Models = None,
    max_tokens: MaxTokens = None,
    expires: Expires = None,
    not_before: NotBefore = None,
    batches: Batches = None,
    cache: Cache = None,
    params: Params = None,
    data: Data = None,
    address: Addresses = None,
    priority: Priority = None,
    shrink_floor: ShrinkFloor = None,
    role: Role = None,
    json: Json = False,
) -> None:
    """Make a key. It is shown once; only its digest is stored."""
    console = Console(json)
    with console.failing_clearly():
        fields = rights(
            model, max_tokens, expires, not_before, batches, cache, params, data, address, priority, shrink_floor
        )
        allowance = to_allowance(rpm, input_tpm, output_tpm, concurrency, budget_usd, period, time_zone, window_seconds)
        who = named(name, "NAME"), named(tenant, "--tenant"), named(user, "--user") if user else ""
        record = KeyRecord("", *who, allowance=allowance, role=to_role(role), **fields)
        made, key = on_store(lambda store: store.create_key(record, actor()))
        shown = {"key": key, **describe_key(made)}
        console.answer(shown, f"{key}\n\n{summary(made)}\nThis is the only time that the key is shown.")
        if load_settings().redis_url is None:
            console.note(DEV_ADMITS)


@keys.command("change")
def change(
    name: str,
    model: Models = None,
    max_tokens: MaxTokens = None,
    expires: Expires = None,
    not_before: NotBefore = None,
    batches: Batches = None,
    cache: Cache = None,
    params: Params = None,
    data: Data = None,
    address: Addresses = None,
    priority: Priority = None,
    shrink_floor: ShrinkFloor = None,
    json: Json = False,
) -> None:
    """Change what a key may do; what is not given stays. `--model '*'` allows all models again."""
    console = Console(json)
    with console.failing_clearly():
        fields = rights(
            model, max_tokens, expires, not_before, batches, cache, params, data, address, priority, shrink_floor
        )
        if not fields:
            raise CommandError("there is nothing to change", "`dragoman keys change --help` lists the options")
        changed = on_store(lambda store: store.update_key(name, actor(), **fields))
        console.answer(describe_key(changed), summary(changed))


@keys.command("list")
def list_keys(
    every: Annotated[bool, typer.Option("--all", help="Archived ones too.")] = False, json: Json = False
) -> None:
    """List keys by their ids, as in the log, without the keys themselves: made ones, and those of GATEWAY_KEYS."""
    console = Console(json)

    async def both(store: AccessStore) -> tuple[list[KeyRecord], tuple[Client, ...]]:
        return await store.keys(), ClientKeys(load_settings().keys, store.secret).clients

    with console.failing_clearly():
        made, configured = on_store(both)
        found = [one for one in made if every or one.status != "archived"]
        lines = [summary(one) for one in found]
        lines += [f"{one.key_id}  tenant {one.tenant}  GATEWAY_KEYS" for one in configured]
        data = [describe_key(one) for one in found]
        data += [{"id": one.key_id, "tenant": one.tenant, "name": None, "source": "GATEWAY_KEYS"} for one in configured]
        text = "\n".join(lines) or "There are no keys. `dragoman keys create NAME` makes one."
        console.answer({"data": data}, text)


@keys.command("show")
def show(name: str, json: Json = False) -> None:
    """Show one key by its name or id."""
    console = Console(json)
    with console.failing_clearly():
        found = on_store(lambda store: store.key(name))
        console.answer(describe_key(found), summary(found))


@keys.command("rotate")
def rotate(
    name: str,
    grace: Annotated[
        int, typer.Option(min=0, max=MAX_GRACE_SECONDS, help="Seconds for which the old key stays valid.")
    ] = GRACE_SECONDS,
    json: Json = False,
) -> None:
    """Give a key a new value; limits, budgets and counts go on."""
    console = Console(json)
    with console.failing_clearly():
        made, key = on_store(lambda store: store.rotate_key(name, grace, actor()))
        console.answer({"key": key, **describe_key(made)}, f"{key}\n\n{summary(made)}")


def status_command(status: str, says: str) -> Callable[..., None]:
    def command(name: str, json: Json = False) -> None:
        console = Console(json)
        with console.failing_clearly():
            changed = on_store(lambda store: store.update_key(name, actor(), status=status))
            console.answer(describe_key(changed), summary(changed))

    command.__doc__ = says
    return command


keys.command("disable")(status_command("inactive", "Refuse a key from the next request on."))
keys.command("enable")(status_command("active", "Accept a disabled key again."))
keys.command("archive")(status_command("archived", "Refuse a key for good; its name may be used again."))


@keys.command("expire")
def expire(
    name: str, when: Annotated[str, typer.Argument(help="Days from now, a date, or never.")], json: Json = False
) -> None:
    """Set when a key expires."""
    console = Console(json)
    with console.failing_clearly():
        at = None if when == "never" else to_expiry(when)
        changed = on_store(lambda store: store.update_key(name, actor(), expires_at=at))
        console.answer(describe_key(changed), summary(changed))


@keys.command("limit")
def limit(
    name: str,
    rpm: Rpm = None,
    input_tpm: InputTpm = None,
    output_tpm: OutputTpm = None,
    concurrency: Concurrency = None,
    budget_usd: BudgetUsd = None,
    period: PeriodOption = "month",
    time_zone: Zone = "UTC",
    window_seconds: Window = 0,
    json: Json = False,
) -> None:
    """Replace the limits and budget of a key; what is not given is unlimited."""
    console = Console(json)
    with console.failing_clearly():
        allowance = to_allowance(rpm, input_tpm, output_tpm, concurrency, budget_usd, period, time_zone, window_seconds)
        changed = on_store(lambda store: store.update_key(name, actor(), allowance=allowance))
        console.answer(describe_key(changed), summary(changed))


def block_command(blocked: bool, says: str) -> Callable[..., None]:
    def command(name: str, json: Json = False) -> None:
        console = Console(json)
        with console.failing_clearly():
            user = named(name, "NAME")
            on_store(lambda store: store.block_user(user, blocked, actor()))
            console.answer({"user": user, "blocked": blocked}, f"{user}: {'blocked' if blocked else 'not blocked'}")

    command.__doc__ = says
    return command


users.command("block")(block_command(blocked=True, says="Refuse everything of a person: keys, sessions, tokens."))
users.command("unblock")(block_command(blocked=False, says="Accept a blocked person again."))


@limits.command("set")
def set_limits(
    scope: Annotated[str, typer.Argument(help="deployment, tenant:NAME or user:NAME.")],
    rpm: Rpm = None,
    input_tpm: InputTpm = None,
    output_tpm: OutputTpm = None,
    concurrency: Concurrency = None,
    budget_usd: BudgetUsd = None,
    period: PeriodOption = "month",
    time_zone: Zone = "UTC",
    window_seconds: Window = 0,
    new: Annotated[bool, typer.Option("--new", help="For a name that no key has yet.")] = False,
    json: Json = False,
) -> None:
    """Replace the limits and budget of a scope; what is not given is unlimited."""
    console = Console(json)

    async def change(store: AccessStore) -> None:
        if not new:
            await check_scope(store, name)
        await store.set_allowance(name, allowance, actor())

    with console.failing_clearly():
        name = to_scope(scope)
        allowance = to_allowance(rpm, input_tpm, output_tpm, concurrency, budget_usd, period, time_zone, window_seconds)
        on_store(change)
        console.answer({"scope": scope, **allowance.to_json()}, f"{scope}: {describe_allowance(allowance)}")


@limits.command("show")
def show_limits(scope: AnyScope, json: Json = False) -> None:
    """Show the limits and budget of a scope."""
    console = Console(json)
    with console.failing_clearly():
        _, allowance = on_store(lambda store: limits_of(store, scope))
        console.answer({"scope": scope, **allowance.to_json()}, f"{scope}: {describe_allowance(allowance)}")


@limits.command("reset")
def reset_limits(scope: AnyScope, json: Json = False) -> None:
    """Set what the budgets of a scope have spent in their periods to nothing."""
    console = Console(json)

    async def reset(store: AccessStore) -> dict[str, int]:
        name, allowance = await limits_of(store, scope)
        return {one.name: await reset_budget(store, name, one, actor()) for one in allowance.budgets}

    with console.failing_clearly():
        spent = on_store(reset)
        if not spent:
            raise CommandError(f"{scope} has no budget")
        text = ", ".join(f"{to_dollars(nano)} of {name}" for name, nano in spent.items())
        in_dollars = {name: nano / NANO for name, nano in spent.items()}
        console.answer({"scope": scope, "spent_usd": in_dollars}, f"{scope}: {text} set back to $0")


async def limits_of(store: AccessStore, scope: str) -> tuple[str, Allowance]:
    """Return the stored name of a scope, and its limits: in Redis, or in gateway.toml."""
    if scope.startswith(KEY):
        name = KEY + (await store.key(scope.removeprefix(KEY))).id
    else:
        name = to_scope(scope, "deployment, tenant:NAME, user:NAME or key:NAME")
    configured = to_client_keys(load_settings(), store.secret)
    return name, (await allowance_of(store, configured, name))[0]


async def check_scope(store: AccessStore, scope: str) -> None:
    """Raises NotFound for a tenant or a user that does not exist, with those that come close."""
    settings = load_settings()
    configured, rules = to_client_keys(settings, store.secret), settings.config.access.identity.rules
    roster = to_roster(await store.keys(), configured, await store.allowances(), rules)
    roster.check_scope(scope, "For a name that no key has yet, add --new.")


def on_store(work: Callable[[AccessStore], Awaitable[Result]]) -> Result:
    """Run against the gateway's Redis. Raises CommandError, with a remedy, if that fails."""

    async def connected() -> Result:
        try:
            settings = load_settings()
        except SettingsError as error:
            raise CommandError(str(error), "docs/configuration.md lists every setting") from None
        if settings.redis_url is None:
            settings = settings.model_copy(update={"redis_url": EMBEDDED})
        async with open_access_store(settings) as store:
            assert store is not None  # the settings name a server
            return await work(store)

    try:
        with warnings_on_stderr():
            return run_async(connected)
    except EmbeddedServerError as error:
        raise CommandError(str(error), "set GATEWAY_REDIS_URL", status=Exit.UNAVAILABLE) from None
    except GatewayError as error:
        if error.status < 500:
            raise CommandError(error.message, status=Exit.FAILED) from None
        raise CommandError(error.message, "is GATEWAY_REDIS_URL the gateway's?", status=Exit.UNAVAILABLE) from None


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Send warnings of the gateway's parts to standard error, and drop what they log below: stdout is for results."""
    before = structlog.get_config()
    level = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=level, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        yield
    finally:
        structlog.configure(**before)


def actor() -> Actor:
    return Actor("cli", getpass.getuser())


def summary(record: KeyRecord) -> str:
    parts = [f"{record.id}  {record.name}", f"tenant {record.tenant}", record.status, record.hint]
    if record.role:
        parts.insert(1, f"role {record.role}")
    if record.user:
        parts.insert(2, f"user {record.user}")
    if record.expires_at is not None:
        parts.append(f"expires {datetime.fromtimestamp(record.expires_at, UTC):%Y-%m-%d %H:%M} UTC")
    if record.not_before is not None:
        parts.append(f"valid from {datetime.fromtimestamp(record.not_before, UTC):%Y-%m-%d %H:%M} UTC")
    if record.models:
        parts.append("models " + " ".join(record.models))
    parts += [f"no {right}" for right, granted in (("batches", record.batches), ("cache", record.cache)) if not granted]
    parts += [f"priority {record.priority}"] if record.priority != "normal" else []
    parts += [f"params {' '.join(record.params)}"] if record.params else []
    parts += [f"data {record.data}"] if record.data else []
    return "  ".join([*parts, describe_allowance(record.allowance)])


def describe_allowance(allowance: Allowance) -> str:
    units = {"requests": "requests/min", "input_tokens": "input tokens/min", "output_tokens": "output tokens/min"}
    said = [
        f"{value} {units.get(name, 'at a time')}"
        for name in ("requests", "input_tokens", "output_tokens", "concurrency")
        if (value := getattr(allowance.limits, name)) is not None
    ]
    said += [f"{one.described} ({one.time_zone})" for one in allowance.budgets]
    return ", ".join(said) or "no limits"
