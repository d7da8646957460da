"""`dragoman batch …`: message batches from a file, at this gateway or at any server of Anthropic's API.

The options are here, the work is in `run`, `calls` and `cli/estimate`.
"""

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from gateway.cli.api import Api, connected
from gateway.cli.batch.calls import (
    PATH,
    create,
    dollars_text,
    duration_text,
    progress_of,
    result_pieces,
    retrieve,
    times_text,
    to_line,
)
from gateway.cli.batch.progress import metering
from gateway.cli.batch.requests_file import RequestsFile, check_file, is_stream, readable
from gateway.cli.batch.results_file import OutcomeCounts, write_pieces
from gateway.cli.batch.run import Run, RunPlan, open_state
from gateway.cli.batch.run_state import RunState, state_path
from gateway.cli.batch.sent_files import batch_of, batches_of, files_of_batches, remember_file
from gateway.cli.batch.wait import to_local, to_utc, wait_for_all
from gateway.cli.console import CommandError, Console, Exit, run_async
from gateway.cli.estimate import estimate, to_json, to_text

batch = typer.Typer(help="Message batches: send, watch, collect.", no_args_is_help=True)

LINES = 'Lines of {"custom_id": …, "params": {…}}; - for standard input.'
File = Annotated[Path, typer.Argument(metavar="FILE.jsonl", help=LINES)]
BatchId = Annotated[str, typer.Argument(metavar="BATCH_ID|FILE", help="msgbatch_…, or the file it was sent from.")]
Url = Annotated[str | None, typer.Option(help="The gateway's address (ANTHROPIC_BASE_URL).")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output.")]
Model = Annotated[str | None, typer.Option(help="Ask this model instead of the requests' own.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Judge each request, count tokens and cost, send nothing.")]


@batch.command()
def submit(file: File, url: Url = None, model: Model = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Send the requests as a batch, or as several when they are too many, and print the ids."""
    console = Console(json)

    async def main(source: Path) -> None:
        requests = check_file(source, model)
        async with connected(url) as api:
            if dry_run:
                await _show_estimate(api, requests, console)
                return
            for part in requests.parts(range(len(requests))):
                created = await create(api, requests, part, f"dragoman-submit-{uuid4().hex}")
                remember_file(created["id"], file)
                console.answer(created, created["id"])

    with console.failing_clearly(), readable(file) as source:
        run_async(partial(main, source))


@batch.command()
def status(
    batch_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[BATCH_ID|FILE]…", help="None: the newest 20.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show batches: their progress, times, cost and file, and the outcome of their requests."""
    console = Console(json)

    async def main() -> None:
        files = files_of_batches()
        async with connected(url) as api:
            if not batch_ids:
                batches = (await api.get(PATH))["data"]
                for shown in batches:
                    _show(console, shown, files)
                if not batches:
                    console.note(f"no batches of this key at {api.url}; `dragoman batch run FILE.jsonl` sends one")
            for batch_id in [found for given in batch_ids or [] for found in batches_of(given, files)]:
                await retrieve(api, batch_id)  # after an answer it is known who is asked
                shown, done, cost = await progress_of(api, batch_id)
                _show(console, shown, files, done, cost)

    _run(console, main)


@batch.command()
def results(
    given: BatchId,
    output: Annotated[Path | None, typer.Option(help="Write there, all or nothing; else to standard output.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the batch has ended.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Fetch the results of a batch that has ended: one JSON line a request."""
    console = Console(json)

    async def main() -> None:
        batch_id = batch_of(given, files_of_batches())
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
def cancel(given: BatchId, url: Url = None, json: Json = False) -> None:
    """Cancel a batch; requests in flight may still finish."""
    console = Console(json)

    async def main() -> None:
        batch_id = batch_of(given, files_of_batches())
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
    """Send a file, wait, and collect its results. Run again after an interruption, it continues."""
    console = Console(json)
    target = output or results_beside(file)

    async def main(source: Path) -> None:
        requests = check_file(source, model)
        if target is None:
            raise CommandError("results of standard input have no file name", "give --output FILE")
        plan = RunPlan(requests, target, attempts, retry_failed, fresh)
        async with connected(url) as api:
            if dry_run:
                await _show_estimate(api, requests, console)
                return
            await api.get(PATH, limit=1)  # report a wrong address or key now, without retries
            state = open_state(api, plan)
            with metering(console) as meter:
                tally = await Run(api, plan, meter, state).to_end()
            _conclude(console, tally, state, target)

    same = "it without --fresh" if fresh else "the same command"
    state_file = "" if target is None else f" ({state_path(target)})"
    hint = f"batches that were sent go on at the gateway; run {same} to carry on{state_file}"
    with console.failing_clearly(), readable(file) as source:
        run_async(partial(main, source), on_interrupt=hint)


def results_beside(file: Path) -> Path | None:
    """Return the path of the results beside the file; None for input without a name."""
    if str(file) == "-" or not file.name or is_stream(file):
        return None
    return file.with_name(file.stem + ".results.jsonl")


def _show(
    console: Console, batch: dict[str, Any], files: dict[str, str], done: int = 0, cost: float | None = None
) -> None:
    file = files.get(batch["id"])
    more = times_text(batch)
    more += [dollars_text(cost)] if cost is not None else []
    more += [f"from {file}"] if file is not None else []
    console.answer({**batch, "done": done, "cost_usd": cost, "file": file}, to_line(batch, done))
    if more:
        console.note(f"  {', '.join(more)}")


async def _show_estimate(api: Api, requests: RequestsFile, console: Console) -> None:
    batches = len(requests.parts(range(len(requests))))
    with metering(console) as meter:
        found = await estimate(api, requests, partial(meter.show, "counting"))
    console.answer({"event": "estimate", **to_json(found, batches)}, to_text(found, batches))
    if found.refused_count:
        raise typer.Exit(Exit.USAGE)


def _conclude(console: Console, tally: OutcomeCounts, state: RunState, output: Path) -> None:
    """Print the outcome of the requests; raises typer.Exit when not all of them succeeded."""
    took = state.ended - state.begun if state.begun and state.ended else None
    failed = [
        {"line": one.line, "custom_id": one.custom_id, "kind": one.kind, "error": one.error or None}
        for one in tally.failed
    ]
    fields = {
        "kinds": dict(tally.kinds),
        "errors": dict(tally.errors),
        "failed": failed,
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
        "cost_usd": state.cost,
        "begun": to_utc(state.begun) if state.begun else None,
        "seconds": None if took is None else round(took, 1),
        "output": str(output),
    }
    console.answer({"event": "finished", **fields}, f"{tally.text} → {output}")
    spent = [f"{tally.input_tokens:,} tokens in, {tally.output_tokens:,} out"]
    spent += [dollars_text(state.cost)] if state.cost is not None else []
    spent += [f"started {to_local(state.begun):%Y-%m-%d %H:%M:%S}"] if state.begun else []
    spent += [f"took {duration_text(took)}"] if took is not None else []
    console.note("  " + ", ".join(spent))
    if tally.all_succeeded:
        return
    for error, count in tally.errors.most_common():
        console.note(f"  {count:,} × {error}, such as: {tally.examples[error]}")
    places = [f"line {one.line} ({one.custom_id}, {one.error or one.kind})" for one in tally.failed]
    places += [f"and {tally.failures - len(places):,} more"] if tally.failures > len(places) else []
    console.note(f"  without success: {', '.join(places)}")
    console.note("  → correct these lines and run the same command again: only what has not succeeded is sent;")
    console.note("    where the cause lay elsewhere, `--retry-failed` sends them once more as they are")
    raise typer.Exit(Exit.FAILED)


def _run(console: Console, main: Callable[[], Awaitable[None]], on_interrupt: str = "") -> None:
    with console.failing_clearly():
        run_async(main, on_interrupt=on_interrupt)
