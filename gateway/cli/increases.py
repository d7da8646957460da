"""`dragoman limits requests`, `approve` and `deny`: answer clients that request a higher budget."""

from typing import Annotated, Any

import typer

from gateway.access.configured import to_client_keys
from gateway.access.increases import IncreaseRequest, IncreaseRequests
from gateway.access.records import NANO, to_dollars, to_nano
from gateway.access.store import AccessStore
from gateway.cli.console import CommandError, Console, printable
from gateway.cli.limits import limits
from gateway.cli.options import Json
from gateway.cli.store import actor, on_store
from gateway.json_values import to_datetime
from gateway.settings import load_settings


@limits.command("requests")
def list_requests(
    every: Annotated[bool, typer.Option("--all", help="Answered ones too.")] = False, json: Json = False
) -> None:
    """List requests for higher budgets, oldest first."""
    console = Console(json)
    with console.failing_clearly():
        asked = on_store(lambda store: IncreaseRequests(store).all())
        found = [one for one in asked if every or one.status == "pending"]
        text = "\n".join(summary(one) for one in found) or "There are no open requests."
        console.answer({"data": [to_plain(one) for one in found]}, text)


@limits.command("approve")
def approve(
    request_id: Annotated[str, typer.Argument(help="The request's id.")],
    budget_usd: Annotated[str, typer.Option("--budget-usd", help="The new budget, in US dollars per its period.")],
    json: Json = False,
) -> None:
    """Set the requested budget, and mark the request as approved. Repeating it with the same amount has no effect."""
    console = Console(json)

    async def change(store: AccessStore) -> IncreaseRequest:
        configured = to_client_keys(load_settings(), store.secret)
        return (await IncreaseRequests(store).approve(configured, request_id, amount, actor()))[0]

    with console.failing_clearly():
        try:
            amount = to_nano(budget_usd)
        except ValueError as error:
            raise CommandError(str(error)) from None
        done = on_store(change)
        console.answer(to_plain(done), f"{summary(done)}, {to_dollars(amount)} per {done.period}")


@limits.command("deny")
def deny(request_id: Annotated[str, typer.Argument(help="The request's id.")], json: Json = False) -> None:
    """Mark a request as denied."""
    console = Console(json)
    with console.failing_clearly():
        done = on_store(lambda store: IncreaseRequests(store).resolve(request_id, "denied", actor()))
        console.answer(to_plain(done), summary(done))


def to_plain(asked: IncreaseRequest) -> dict[str, Any]:
    return {
        "id": asked.id,
        "scope": asked.scope,
        "period": asked.period,
        "amount_usd": None if asked.amount is None else asked.amount / NANO,
        "reason": asked.reason or None,
        "status": asked.status,
        "created_at": asked.created_at,
    }


def summary(asked: IncreaseRequest) -> str:
    at = to_datetime(asked.created_at)
    parts = [f"{asked.id}  {asked.scope}", asked.status, f"{at:%Y-%m-%d %H:%M} UTC", f"per {asked.period}"]
    parts += [f"asks for {to_dollars(asked.amount)}"] if asked.amount is not None else []
    return "  ".join([*parts, *([printable(asked.reason)] if asked.reason else [])])
