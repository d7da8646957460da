"""The faults of chat streams (`faults`), applied to answers of the simulator's other APIs.

An answer is built completely in its API and then broken, since half a chat answer cannot be converted.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from gateway.simulator.faults import PAGE, TRICKLE_SECONDS
from gateway.simulator.script import HangUp, Hold, Script, broken_off, trickled

# From a sound answer and the API's event for an error.
Break: TypeAlias = Callable[[Script, bytes], Script]


def _with_crlf(script: Script, _: bytes) -> Script:
    return replace(
        script, steps=tuple(step.replace(b"\n", b"\r\n") if isinstance(step, bytes) else step for step in script.steps)
    )


def _html(*_: object) -> Script:
    return Script((PAGE,), 200, (("Content-Type", "text/html; charset=utf-8"),))


STREAMS: Final[dict[str, Break]] = {
    "error-first": lambda script, error: replace(script, steps=(error,)),
    "error-mid-stream": broken_off,
    "cut-off": lambda script, _: broken_off(script),
    "crlf": _with_crlf,
}
# Of streams and of JSON.
ANSWERS: Final[dict[str, Break]] = {
    "hang-up": lambda script, _: broken_off(script, HangUp()),
    "hang-up-early": lambda *_: Script((HangUp(),)),
    "silent": lambda *_: Script((Hold(),)),
    "silent-mid-stream": lambda script, _: broken_off(script, Hold()),
    "slow-bytes": lambda script, _: trickled(script, TRICKLE_SECONDS),
    "html-200": _html,
}
# Faults that are an error of that status in an answer without a stream.
ERRORS: Final = {"error-first": 529, "error-mid-stream": 502, "error-in-200": 502}


def sound_model(model: str) -> str:
    """Return the model with the sound answer that this model breaks; the model itself if it breaks nothing."""
    name = model.removeprefix("sim/")
    return "sim/echo" if name in STREAMS or name in ANSWERS else model


def error_status(model: str, *, streamed: bool) -> int | None:
    """Return the status of a model that answers with an error; None for others."""
    name = model.removeprefix("sim/")
    return None if streamed and name in STREAMS else ERRORS.get(name)


def broken(script: Script, model: str, error: bytes, *, streamed: bool) -> Script:
    """Break a complete answer as the model's name says."""
    name = model.removeprefix("sim/")
    change = ANSWERS.get(name) or (STREAMS.get(name) if streamed else None)
    return script if change is None else change(script, error)
