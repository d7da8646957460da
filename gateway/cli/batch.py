"""`dragoman batch …`: message batches from a file, at this gateway or at any server of Anthropic's API.

The options are here, the work is in `batch_run`, `estimate` and `batch_calls`.
"""

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from gateway.cli.api import Api, connected
from gateway.cli.batch_calls import PATH, create, progress_of, result_pieces, retrieve, to_line
from gateway.cli.batch_run import Run, RunPlan, open_state
from gateway.cli.batch_wait import wait_for_all
from gateway.cli.console import Console, Exit, run_async
from gateway.cli.estimate import estimate, to_json, to_text
from gateway.cli.progress import metering
from gateway.cli.requests_file import RequestsFile, check_file
from gateway.cli.results_file import OutcomeCounts, write_pieces
from gateway.cli.run_state import state_path

batch = typer.Typer(help="Message batches: send, watch, collect.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE.jsonl", help='Lines of {"custom_id": …, "params": {…}}.')]
BatchId = Annotated[str, typer.Argument(metavar="BATCH_ID", help="msgbatch_…")]
Url = Annotated[str | None, typer.Option(help="The gateway's address (ANTHROPIC_BASE_URL).")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output.")]
Model = Annotated[str | None, typer.Option(help="Ask this model, whatever the requests say.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the file, count tokens and cost, send nothing.")]


@batch.command()
def submit(file: File, url: Url = None, model: Model = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Send the requests as a batch, or as several when they are too many, and print the ids."""
    console = Console(json)

    async def main() -> None:
        requests = check_file(file, model)
        async with connected(url) as api:
            if dry_run:
                await _show_estimate(api, requests, console)
                return
            for part in requests.parts(range(len(requests))):
                created = await create(api, requests, part, f"dragoman-submit-{uuid4().hex}")
                console.answer(created, created["id"])

    _run(console, main)


@batch.command()
def status(
    batch_ids: Annotated[list[str] | None, typer.Argument(metavar="[BATCH_ID]…", help="None: the newest 20.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show batches: their progress, and the outcome of their requests."""
    console = Console(json)

    async def main() -> None:
        async with connected(url) as api:
            if not batch_ids:
                for shown in (await api.get(PATH))["data"]:
                    console.answer(shown, to_line(shown))
            for batch_id in batch_ids or []:
                shown, done = await retrieve(api, batch_id), 0
                if api.is_dragoman and shown["processing_status"] != "ended":
                    shown, done = await progress_of(api, batch_id)
                console.answer(shown, to_line(shown, done))

    _run(console, main)


@batch.command()
def results(
    batch_id: BatchId,
    output: Annotated[Path | None, typer.Option(help="Write there, all or nothing; else to standard output.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the batch has ended.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Fetch the results of a batch that has ended: one JSON line a request."""
    console = Console(json)

    async def main() -> None:
        async with connected(url) as api:
            shown = await retrieve(api, batch_id)
            if wait:
                with metering(console if output is not None else Console()) as meter:
                    await wait_for_all(api, {batch_id: sum(shown["request_counts"].values())}, meter)
                shown = await retrieve(api, batch_id)
            if output is None:
                async for piece in result_pieces(api, batch_id):
                    sys.stdout.buffer.write(piece)
                return
            await write_pieces(output, result_pieces(api, batch_id))
            console.answer({**shown, "output": str(output)}, f"{to_line(shown)} → {output}")

    _run(console, main)


@batch.command()
def cancel(batch_id: BatchId, url: Url = None, json: Json = False) -> None:
    """Cancel a batch; requests in flight may still finish."""
    console = Console(json)

    async def main() -> None:
        async with connected(url) as api:
            shown, _ = await api.call("POST", f"{PATH}/{batch_id}/cancel")
            console.answer(shown, to_line(shown))

    _run(console, main)


@batch.command()
def run(
    file: File,
    output: Annotated[Path | None, typer.Option(help="The results; FILE.results.jsonl when not given.")] = None,
    attempts: Annotated[int, typer.Option(min=1, max=20, help="How often a request may be sent.")] = 3,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Send all that failed once more.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; the results so far are replaced.")] = False,
    url: Url = None,
    model: Model = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Send a file, wait, and collect its results; stopped and run again, it goes on where it was."""
    console = Console(json)
    target = output or file.with_name(file.stem + ".results.jsonl")

    async def main() -> None:
        requests = check_file(file, model)
        plan = RunPlan(requests, target, attempts, retry_failed, fresh)
        async with connected(url) as api:
            if dry_run:
                await _show_estimate(api, requests, console)
                return
            await api.get(PATH, limit=1)  # report a wrong address or key now, without retries
            state = open_state(api, plan)
            with metering(console) as meter:
                tally = await Run(api, plan, meter, state).to_end()
            _conclude(console, tally, target)

    same = "it without --fresh" if fresh else "the same command"
    _run(console, main, f"batches that were sent go on at the gateway; run {same} to carry on ({state_path(target)})")


async def _show_estimate(api: Api, requests: RequestsFile, console: Console) -> None:
    batches = len(requests.parts(range(len(requests))))
    with metering(console) as meter:
        found = await estimate(api, requests, partial(meter.show, "counting"))
    console.answer({"event": "estimate", **to_json(found, batches)}, to_text(found, batches))


def _conclude(console: Console, tally: OutcomeCounts, output: Path) -> None:
    """Print the outcome of the requests; raises typer.Exit when not all of them succeeded."""
    fields = {"kinds": dict(tally.kinds), "errors": dict(tally.errors), "output": str(output)}
    console.answer({"event": "finished", **fields}, f"{tally.text} → {output}")
    if tally.all_succeeded:
        return
    for error, count in tally.errors.most_common():
        console.note(f"  {count:,} × {error}, such as: {tally.examples[error]}")
    console.note("  → `--retry-failed` sends once more what has not succeeded; mend the cause first")
    raise typer.Exit(Exit.FAILED)


def _run(console: Console, main: Callable[[], Awaitable[None]], on_interrupt: str = "") -> None:
    with console.failing_clearly():
        run_async(main, on_interrupt=on_interrupt)
