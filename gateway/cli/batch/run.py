"""`dragoman batch run`: send, wait, collect, and resend requests that may still succeed. It can be stopped and resumed.

    each round: record its batches → create each → wait for all → merge each one's results → next round

The first round has every request; later ones have those that expired or failed temporarily. Requests that were refused
are resent only on request, or after the file has been edited: then all without success are sent, and those that
succeeded must be unchanged.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.cli.api import Api, ApiError, patiently
from gateway.cli.batch.calls import create, result_pieces
from gateway.cli.batch.progress import Meter
from gateway.cli.batch.requests_file import RequestsFile, changed
from gateway.cli.batch.results_file import (
    MISSING,
    SUCCEEDED,
    Outcome,
    OutcomeCounts,
    ResultPosition,
    find_results,
    mode_of,
    write_merged,
    write_pieces,
)
from gateway.cli.batch.run_state import RunState, SentBatch, state_path
from gateway.cli.batch.sent_files import remember_file
from gateway.cli.batch.wait import report_outage, wait_for_all
from gateway.cli.console import CommandError


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Options of a run. `attempts`: how often a request may be sent in all. `retry_failed` resends all requests without
    success, `fresh` ignores earlier runs."""

    requests: RequestsFile
    output: Path
    attempts: int = 3
    retry_failed: bool = False
    fresh: bool = False

    @property
    def mode(self) -> int:
        """Return the permissions of every file that the run writes: those of the requests."""
        return mode_of(self.requests.path)


@dataclass(slots=True)
class Run:
    api: Api
    plan: RunPlan
    meter: Meter
    state: RunState

    async def to_end(self) -> OutcomeCounts:
        """Return the outcome of each request. Raises CommandError, after which a new Run continues."""
        goes_on = bool(self.state.open_batches)
        if not self.state.rounds:
            self._begin(range(len(self.plan.requests)))
        await self._finish_round()
        if self.state.digest != self.plan.requests.digest:
            await self._send_edited()
            goes_on = True
        if self.plan.retry_failed and not goes_on:  # else that round was it
            await self._again(lambda outcome: outcome.kind != SUCCEEDED)
        while len(self.state.rounds) < self.plan.attempts and await self._again(lambda outcome: outcome.may_pass):
            pass
        tally, requests = OutcomeCounts(), self.plan.requests
        for line, custom_id, outcome in zip(requests.lines, requests.custom_ids, self._outcomes(), strict=True):
            tally.add(outcome, line, custom_id)
        return tally

    async def _send_edited(self) -> None:
        """Send the requests that had not succeeded before the file was edited."""
        requests = self.plan.requests
        refuse_changed_successes(self.state, requests, self.plan.output)
        places = [place for place, outcome in enumerate(self._outcomes()) if outcome.kind != SUCCEEDED]
        kept, count = len(requests) - len(places), len(places)
        text = f"{requests.path} has been edited: {kept:,} requests that succeeded are kept, sending {count:,}"
        self.meter.note(text, "edited", kept=kept, requests=count)
        self.state.begin_again(requests, requests.parts(places))
        await self._finish_round()

    async def _again(self, is_wanted: Callable[[Outcome], bool]) -> bool:
        """Run another round for the unfinished requests; return False when there are none."""
        places = [place for place, outcome in enumerate(self._outcomes()) if is_wanted(outcome)]
        if places:
            self._begin(places)
            await self._finish_round()
        return bool(places)

    def _begin(self, places: Sequence[int]) -> None:
        self.state.begin_round(self.plan.requests.parts(places))
        number, count = len(self.state.rounds), sum(batch.count for batch in self.state.open_batches)
        if number > 1:
            self.meter.note(f"sending {count:,} again", "resubmitting", attempt=number, requests=count)

    async def _finish_round(self) -> None:
        for batch in self.state.open_batches:
            if not batch.id:
                await self._create(batch)
        number = len(self.state.rounds)
        waited_for = {batch.id: batch.count for batch in self.state.open_batches}
        try:
            label = "requests" if number == 1 else f"attempt {number}"
            costs = await wait_for_all(self.api, waited_for, self.meter, label)
            for batch in self.state.open_batches:
                # Safe to repeat after an interruption: the same results give the same output.
                output = self.plan.output
                downloaded = output.with_name(f"{output.name}.{batch.id}")
                try:
                    await patiently(partial(self._download, batch.id, downloaded), partial(report_outage, self.meter))
                    newer_first = find_results(downloaded), find_results(output)
                    write_merged(output, self.plan.requests.custom_ids, *newer_first, mode=self.plan.mode)
                finally:
                    downloaded.unlink(missing_ok=True)
                batch.cost = costs[batch.id]
                batch.collected = True
                self.state.ended = time.time()
                self.state.save()
        except ApiError as error:
            raise self._explained(error) from None

    async def _create(self, batch: SentBatch) -> None:
        part = batch.places

        def sent(done: int) -> None:
            self.meter.show("sending (bytes)", done, self.plan.requests.body_bytes(part))

        call = partial(create, self.api, self.plan.requests, part, batch.idempotency_key, sent)
        created = await patiently(call, partial(report_outage, self.meter))
        batch.id = created["id"]
        self.state.save()
        remember_file(batch.id, self.plan.requests.path)
        self.meter.note(f"{batch.id}: {batch.count:,} requests", "created", batch=batch.id, requests=batch.count)

    async def _download(self, batch_id: str, path: Path) -> None:
        await write_pieces(path, result_pieces(self.api, batch_id), self.plan.mode)

    def _outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes of all requests, in order."""
        found: dict[str, ResultPosition] = find_results(self.plan.output)
        for custom_id in self.plan.requests.custom_ids:
            yield found[custom_id].outcome if custom_id in found else Outcome(MISSING)

    def _explained(self, error: ApiError) -> ApiError:
        if error.code != 404:
            return error
        hint = f"use the key it was started with, or start over with --fresh ({self.state.path} names its batches)"
        return ApiError(f"{self.api.url} does not know a batch of this run: {error.message}", hint, code=404)


def refuse_edit(state: RunState, plan: RunPlan) -> None:
    """Raise CommandError if a run cannot continue with the edited file."""
    path = plan.requests.path
    if not state.requests or not plan.output.exists():
        raise changed(path)
    if any(not batch.id for batch in state.open_batches):
        raise changed(path, "has changed while it was being sent")
    refuse_changed_successes(state, plan.requests, plan.output)


def refuse_changed_successes(state: RunState, requests: RequestsFile, output: Path) -> None:
    """Raise CommandError if a request that succeeded, and was paid for, has changed or is missing."""
    for custom_id, position in find_results(output).items():
        if position.outcome.kind != SUCCEEDED or custom_id not in state.requests:
            continue
        if custom_id not in requests.digests:
            raise changed(requests.path, f"has changed: {custom_id}, which succeeded, was removed")
        if requests.digests[custom_id] != state.requests[custom_id]:
            line = requests.lines[requests.custom_ids.index(custom_id)]
            raise changed(requests.path, f"has changed in line {line}: {custom_id} succeeded as it was before")


def open_state(api: Api, plan: RunPlan) -> RunState:
    """Return the state of an earlier run, or a new one. Raises CommandError for a state or results of another."""
    path = state_path(plan.output)
    new = RunState(path, api.url, plan.requests.digest, [], plan.mode, plan.requests.digests, time.time())
    if plan.fresh:
        plan.output.unlink(missing_ok=True)
        return new
    found = RunState.load(path, plan.mode)
    if found is None:
        if plan.output.exists():
            raise CommandError(f"{plan.output} is there already", "give another --output, or replace it with --fresh")
        return new
    if found.digest != plan.requests.digest:
        refuse_edit(found, plan)
    if found.url != api.url:
        raise CommandError(
            f"this run was started at {found.url}", f"go on there with --url {found.url}, or use --fresh"
        )
    if not plan.output.exists():
        found.forget_collected()
    return found
