"""Tasks with an owner, steps that outlive their failures, and the signal that ends it all."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import uvloop
from structlog.testing import capture_logs

from gateway.errors import StoreAway, Unavailable
from gateway.process.tasks import MAX_BACKOFF, Repeated, background, log_loop_error


@dataclass(slots=True)
class Steps:
    """A step with scripted outcomes, and a sleep that only records its arguments."""

    script: list[Exception | None]
    done: asyncio.Event = field(default_factory=asyncio.Event)
    waits: list[float] = field(default_factory=list)

    async def step(self) -> None:
        what = self.script.pop(0)
        if not self.script:
            self.done.set()
        if what is not None:
            raise what

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    async def run(self) -> None:
        await Repeated("loop", self.step, every=7.0, sleep=self.sleep).run_until(self.done)


async def test_a_step_is_repeated_until_stopped() -> None:
    steps = Steps([None, None, None])
    await steps.run()
    assert steps.waits == [7.0, 7.0, 7.0]


async def test_failures_delay_the_next_step_more_and_more_and_no_more_than_two_seconds() -> None:
    steps = Steps([Unavailable("away")] * 12)
    await steps.run()
    assert steps.waits[0] <= 0.05
    assert steps.waits[3] <= 0.4
    assert MAX_BACKOFF / 2 <= steps.waits[-1] <= MAX_BACKOFF


async def test_a_series_of_failures_is_logged_when_it_begins_and_when_it_is_over() -> None:
    steps = Steps([Unavailable("away")] * 5 + [None, Unavailable("away"), None])
    with capture_logs() as lines:
        await steps.run()
    assert [(line["event"], line.get("failures")) for line in lines] == [
        ("loop_failed", None),
        ("loop_recovered", 5),
        ("loop_failed", None),
        ("loop_recovered", 1),
    ]


@pytest.mark.parametrize(("refusal", "levels"), [(None, ["debug", "debug"]), ("NOPERM", ["warning", "info"])])
async def test_a_loop_that_fails_without_an_answer_of_redis_adds_no_line(
    refusal: str | None, levels: list[str]
) -> None:
    with capture_logs() as lines:
        await Steps([StoreAway("away", refusal=refusal), None]).run()
    assert [line["log_level"] for line in lines] == levels


async def test_an_unexpected_error_is_logged_by_type_and_place_since_its_words_may_quote_a_prompt() -> None:
    with capture_logs() as lines:
        await Steps([KeyError("the user's prompt"), None]).run()
    assert lines[0]["error"] == "KeyError"
    assert lines[0]["where"].partition(":")[0].endswith("test_tasks.py")
    assert "prompt" not in str(lines)


async def test_cancelling_ends_the_loop() -> None:
    steps = Steps([])
    loop = Repeated("loop", asyncio.Event().wait, sleep=steps.sleep)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_background_task_ends_with_its_context() -> None:
    seen: list[str] = []

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    async with background(run()):
        await asyncio.sleep(0)
        assert not seen
    assert seen == ["ended"]


async def test_a_task_that_swallows_a_cancellation_ends_all_the_same() -> None:
    swallowed: list[int] = []

    async def run() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallowed:
                    raise
                swallowed.append(1)

    async with asyncio.timeout(5), background(run()):
        await asyncio.sleep(0)
    assert swallowed == [1]


async def test_a_background_task_that_failed_is_heard_of() -> None:
    async def fail() -> None:
        raise KeyError("no")

    with pytest.raises(KeyError):
        async with background(fail()):
            await asyncio.sleep(0)


@dataclass(slots=True)
class Holder:
    """Owner of a callback, with a secret."""

    prompt: str = "prompt-canary"

    def ended(self, argument: str) -> None:
        raise ValueError(f"{self.prompt} {argument}")


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_callback_that_raises_is_logged_without_its_repr_and_its_message(
    make_loop: Callable[[], asyncio.AbstractEventLoop], capfd: pytest.CaptureFixture[str]
) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log_loop_error)
        loop.call_soon(Holder().ended, "argument-canary")
        await asyncio.sleep(0)

    with capture_logs() as lines, asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(run())
    assert "canary" not in str(lines) + "".join(capfd.readouterr())
    [line] = lines
    assert (line["event"], line["error"]) == ("event_loop_error", "ValueError")
    assert line["problem"].startswith("Exception in callback")
    assert line["where"].startswith(__file__)


def test_report_of_the_loop_without_an_exception_is_logged() -> None:
    loop = asyncio.new_event_loop()
    with capture_logs() as lines:
        log_loop_error(loop, {"message": "Unclosed client session <canary>"})
    loop.close()
    assert lines == [{"event": "event_loop_error", "log_level": "error", "problem": "Unclosed client session"}]
