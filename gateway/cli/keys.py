"""`dragoman keys`: create, list, change and rotate client keys, and set limits, in the gateway's Redis.

Run it with the gateway's own environment: GATEWAY_REDIS_URL, and GATEWAY_SECRET if one is set. Without a Redis URL it
uses the embedded server of `dragoman dev` on this machine.
"""

from collections.abc import Callable
from typing import Annotated, Final

import typer

from gateway.access.keys import ClientKeys
from gateway.access.records import KeyRecord
from gateway.access.store import GRACE_SECONDS, KEY, MAX_GRACE_SECONDS, AccessStore, describe_key
from gateway.cli.console import CommandError, Console
from gateway.cli.key_options import LimitOptions, ModelGroup, RightsOptions, Role, named, to_expiry, to_role
from gateway.cli.limits import change_limits, describe_allowance
from gateway.cli.options import Json, with_options
from gateway.cli.store import actor, on_store
from gateway.errors import NotFound
from gateway.json_values import to_datetime
from gateway.settings import load_settings

DEV_ADMITS: Final = (
    "`dragoman dev` admits everyone on this machine and applies no key's limits, unless started with GATEWAY_AUTH=keys"
)

# Where configured keys are from.
FILE: Final = "gateway.toml"
VARIABLE: Final = "GATEWAY_KEYS"

keys = typer.Typer(help="Client keys, with their limits and budgets.", no_args_is_help=True)
users = typer.Typer(help="People who sign in or are named by keys.", no_args_is_help=True)


@keys.command("create")
@with_options
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    tenant: Annotated[str, typer.Option(help="The tenant that it acts for.")] = "default",
    user: Annotated[str, typer.Option(help="The person who holds the key.")] = "",
    *,
    limits: LimitOptions,
    rights: RightsOptions,
    role: Role = None,
    json: Json = False,
) -> None:
    """Create a key. It is shown once; only its digest is stored."""
    console = Console(json)
    with console.failing_clearly():
        fields, allowance = rights.fields(), limits.allowance()
        who = named(name, "NAME"), named(tenant, "--tenant"), named(user, "--user") if user else ""
        record = KeyRecord("", *who, allowance=allowance, role=to_role(role), **fields)
        made, key = on_store(lambda store: store.create_key(record, actor()))
        shown = {"key": key, **describe_key(made)}
        console.answer(shown, f"{key}\n\n{summary(made)}\nThis is the only time that the key is shown.")
        if load_settings().redis_url is None:
            console.note(DEV_ADMITS)


@keys.command("change")
@with_options
def change(
    name: str,
    *,
    rights: RightsOptions,
    json: Json = False,
) -> None:
    """Change the rights of a key; options that are not given stay. `--model '*'` allows all models again."""
    console = Console(json)
    with console.failing_clearly():
        fields = rights.fields()
        if not fields:
            raise CommandError("there is nothing to change", "`dragoman keys change --help` lists the options")
        changed = on_store(lambda store: store.update_key(name, actor(), **fields))
        console.answer(describe_key(changed), summary(changed))


@keys.command("list")
def list_keys(
    every: Annotated[bool, typer.Option("--all", help="Archived ones too.")] = False, json: Json = False
) -> None:
    """List generated and configured keys by id, without their values."""
    console = Console(json)

    async def both(store: AccessStore) -> tuple[list[KeyRecord], ClientKeys]:
        return await store.keys(), configured_keys(store)

    with console.failing_clearly():
        made, configured = on_store(both)
        found = [one for one in made if every or one.status != "archived"]
        lines = [summary(one) for one in found]
        lines += [f"{summary(one)}  {FILE}" for one in configured.file_records]
        lines += [f"{one.key_id}  tenant {one.tenant}  {VARIABLE}" for one in configured.clients]
        data = [describe_key(one) for one in found]
        data += [describe_key(one) | {"source": FILE} for one in configured.file_records]
        data += [
            {"id": one.key_id, "tenant": one.tenant, "name": None, "source": VARIABLE} for one in configured.clients
        ]
        text = "\n".join(lines) or "There are no keys. `dragoman keys create NAME` makes one."
        console.answer({"data": data}, text)


@keys.command("show")
def show(name: str, json: Json = False) -> None:
    """Show one key by its name or id."""
    console = Console(json)

    async def find(store: AccessStore) -> tuple[KeyRecord, str]:
        try:
            return await store.key(name), ""
        except NotFound:
            for one in configured_keys(store).file_records:
                if name in (one.id, one.name):
                    return one, FILE
            raise

    with console.failing_clearly():
        found, source = on_store(find)
        shown = describe_key(found) | ({"source": source} if source else {})
        console.answer(shown, f"{summary(found)}  {source}".rstrip())


@keys.command("rotate")
def rotate(
    name: str,
    grace: Annotated[
        int, typer.Option(min=0, max=MAX_GRACE_SECONDS, help="Seconds for which the old key stays valid.")
    ] = GRACE_SECONDS,
    json: Json = False,
) -> None:
    """Give a key a new value; limits, budgets and counts are kept."""
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


keys.command("disable")(status_command("inactive", "Refuse a key until it is enabled again."))
keys.command("enable")(status_command("active", "Accept a disabled key again."))
keys.command("archive")(status_command("archived", "Refuse a key permanently; its name may be used again."))


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
@with_options
def limit(
    name: str,
    *,
    limits: LimitOptions,
    model_group: ModelGroup = "",
    json: Json = False,
) -> None:
    """Replace the limits and budget of a key; those that are not given are removed."""
    console = Console(json)

    async def change(store: AccessStore) -> KeyRecord:
        record = await store.key(name)
        await change_limits(store, KEY + record.id, model_group, allowance)
        return await store.key(record.id)

    with console.failing_clearly():
        allowance = limits.allowance()
        changed = on_store(change)
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


def configured_keys(store: AccessStore) -> ClientKeys:
    """Return the keys of this environment, also with GATEWAY_AUTH=off, under which they are not required."""
    settings = load_settings()
    return ClientKeys(settings.keys, store.secret, settings.config.access.file_access())


def summary(record: KeyRecord) -> str:
    parts = [f"{record.id}  {record.name}", f"tenant {record.tenant}", record.status]
    parts += [record.hint] if record.hint else []
    if record.role:
        parts.insert(1, f"role {record.role}")
    if record.user:
        parts.insert(2, f"user {record.user}")
    if record.expires_at is not None:
        parts.append(f"expires {to_datetime(record.expires_at):%Y-%m-%d %H:%M} UTC")
    if record.not_before is not None:
        parts.append(f"valid from {to_datetime(record.not_before):%Y-%m-%d %H:%M} UTC")
    if record.models:
        parts.append("models " + " ".join(record.models))
    parts += [f"no {right}" for right, granted in (("batches", record.batches), ("cache", record.cache)) if not granted]
    parts += [f"priority {record.priority}"] if record.priority != "normal" else []
    parts += [f"params {' '.join(record.params)}"] if record.params else []
    parts += [f"data {record.data}"] if record.data else []
    return "  ".join([*parts, describe_allowance(record.allowance)])
