"""`dragoman limits`: limits and budgets of a tenant, a user or the deployment, in the gateway's Redis."""

from functools import partial
from typing import Annotated

import typer

from gateway.access.allowances import allowance_of, allowances_in_force, change_allowance, key_scope, reset_budget
from gateway.access.configured import to_client_keys
from gateway.access.keys import ClientKeys
from gateway.access.model_groups import group_scope
from gateway.access.records import DEPLOYMENT, NANO, Allowance, Budget, KeyRecord, to_dollars
from gateway.access.reservation import LIMITS
from gateway.access.roster import check_group, to_roster
from gateway.access.store import KEY, AccessStore
from gateway.cli.console import CommandError, Console
from gateway.cli.key_options import LimitOptions, ModelGroup, to_scope
from gateway.cli.options import Json, with_options
from gateway.cli.store import actor, on_store
from gateway.settings import load_settings

AnyScope = Annotated[str, typer.Argument(help="deployment, tenant:NAME, user:NAME or key:NAME.")]

limits = typer.Typer(help="Limits and budgets of a tenant, a user, or the whole deployment.", no_args_is_help=True)


@limits.command("set")
@with_options
def set_limits(
    scope: Annotated[str, typer.Argument(help="deployment, tenant:NAME or user:NAME.")],
    *,
    options: LimitOptions,
    model_group: ModelGroup = "",
    new: Annotated[bool, typer.Option("--new", help="For a name that no key has yet.")] = False,
    json: Json = False,
) -> None:
    """Replace the limits and budget of a scope; those that are not given are removed."""
    console = Console(json)

    async def change(store: AccessStore) -> Allowance:
        if not new:
            await check_scope(store, name)
        return await change_limits(store, name, model_group, allowance)

    with console.failing_clearly():
        name = to_scope(scope)
        allowance = options.allowance()
        changed = on_store(change)
        console.answer({"scope": scope, **changed.to_json()}, f"{scope}: {describe_allowance(changed)}")


@limits.command("list")
def list_limits(json: Json = False) -> None:
    """List the limits and budgets of every scope that has some: in Redis, and in gateway.toml."""
    console = Console(json)

    async def read(store: AccessStore) -> tuple[dict[str, Allowance], list[KeyRecord], ClientKeys]:
        configured = to_client_keys(load_settings(), store.secret)
        return await allowances_in_force(store, configured), await store.keys(), configured

    with console.failing_clearly():
        found, made, configured = on_store(read)
        names = {KEY + one.id: one.name for one in (*made, *configured.records.values())}
        gone = {KEY + one.id for one in made if one.status == "archived"}
        shown = [(scope_text(scope), one) for scope, one in sorted(found.items()) if scope not in gone]
        of_keys = {scope_text(scope): f" ({name})" for scope, name in names.items()}
        lines = [f"{scope}{of_keys.get(scope, '')}: {describe_allowance(one)}" for scope, one in shown]
        data = [
            {"scope": scope, **one.to_json(), "unknown_model_groups": configured.model_groups.unknown_in(one)}
            for scope, one in shown
        ]
        console.answer({"data": data}, "\n".join(lines) or "There are no limits. `dragoman limits set` makes some.")
        for scope, one in shown:
            for group in configured.model_groups.unknown_in(one):
                console.note(
                    f"warning: gateway.toml has no model group {group}; its limits of {scope} apply to nothing"
                )


@limits.command("show")
def show_limits(scope: AnyScope, json: Json = False) -> None:
    """Show the limits and budget of a scope."""
    console = Console(json)
    with console.failing_clearly():
        _, allowance = on_store(lambda store: limits_of(store, scope))
        console.answer({"scope": scope, **allowance.to_json()}, f"{scope}: {describe_allowance(allowance)}")


@limits.command("reset")
def reset_limits(scope: AnyScope, json: Json = False) -> None:
    """Reset the spending of a scope's budgets to zero."""
    console = Console(json)

    async def reset(store: AccessStore) -> list[tuple[str, Budget, int]]:
        name, allowance = await limits_of(store, scope)
        several = [(group, one) for group in ("", *allowance.model_groups) for one in allowance.of_group(group).budgets]
        return [
            (group, one, await reset_budget(store, group_scope(name, group), one, actor())) for group, one in several
        ]

    with console.failing_clearly():
        done = on_store(reset)
        if not done:
            raise CommandError(f"{scope} has no budget")
        lines = [
            f"{scope}{f', model group {group}' if group else ''}: {to_dollars(spent)} of {one.described} set back to $0"
            for group, one, spent in done
        ]
        data = [
            {"model_group": group or None, "period": one.period, "time_zone": one.time_zone, "spent_usd": spent / NANO}
            for group, one, spent in done
        ]
        console.answer({"scope": scope, "reset": data}, "\n".join(lines))


def scope_text(scope: str) -> str:
    """Return the name of a scope as the commands write it."""
    return "deployment" if scope == DEPLOYMENT else scope


async def limits_of(store: AccessStore, scope: str) -> tuple[str, Allowance]:
    """Return the stored name of a scope, and its limits, from Redis or gateway.toml."""
    configured = to_client_keys(load_settings(), store.secret)
    if scope.startswith(KEY):
        name = await key_scope(store, configured, scope.removeprefix(KEY))
    else:
        name = to_scope(scope, "deployment, tenant:NAME, user:NAME or key:NAME")
    return name, (await allowance_of(store, configured, name))[0]


async def change_limits(store: AccessStore, scope: str, group: str, wanted: Allowance) -> Allowance:
    """Replace the limits of a scope for a model group, or for all models, and return all limits of the scope."""
    configured = to_client_keys(load_settings(), store.secret)
    check_group(configured, group)
    change = partial(Allowance.with_group, group=group, allowance=wanted)
    return (await change_allowance(store, configured, scope, change, actor()))[0]


async def check_scope(store: AccessStore, scope: str) -> None:
    """Raises NotFound for an unknown tenant or user, with the closest known names."""
    settings = load_settings()
    configured, rules = to_client_keys(settings, store.secret), settings.config.access.identity.rules
    roster = to_roster(await store.keys(), configured, await store.allowances(), rules)
    roster.check_scope(scope, "For a name that no key has yet, add --new.")


def describe_allowance(allowance: Allowance) -> str:
    units = {"requests": "requests/min", "input_tokens": "input tokens/min", "output_tokens": "output tokens/min"}
    said = [
        f"{value} {units.get(name, 'at a time')}"
        for name in LIMITS
        if (value := getattr(allowance.limits, name)) is not None
    ]
    said += [f"{one.described} ({one.time_zone})" for one in allowance.budgets]
    said += ["blocked"] if allowance.blocked else []
    said += [f"{group}: {describe_allowance(one)}" for group, one in allowance.model_groups.items()]
    return ", ".join(said) or "no limits"
