"""Expected answers, as data: every field that is set is compared, and all differences are reported together."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.servers.client import Answer

Check = Callable[[Answer], bool]


@dataclass(frozen=True, slots=True)
class Expected:
    """`thinking` is compared without white space around it.

    `noted` and `not_noted` are words that x-gateway-ignored must and must not have. `error` is the status and the type
    of a failure, `message` a pattern that its message matches from the start. `most_output` bounds output tokens,
    `most_seconds` the time. `satisfies` is for what has no field here; its name goes into the report.
    A failure is an answer only where one of `error` and `message` asks for it, or `may_fail` allows it.
    """

    text: str | None = None
    thinking: str | None = None
    calls: list[tuple[str, dict[str, Any]]] | None = None
    called: list[str] | None = None
    stop: str | None = None
    sequence: str | None = None
    noted: str | None = None
    not_noted: str | None = None
    error: tuple[int, str] | None = None
    message: str | None = None
    most_output: int | None = None
    most_seconds: float | None = None
    satisfies: Check | None = None
    may_fail: bool = False

    def check(self, answer: Answer) -> None:
        differences = [self._describe(name) for name in self._fields() if not CHECKS[name](self, answer)]
        must_succeed = not self.may_fail and self.error is None and self.message is None
        if must_succeed and (answer.status != 200 or answer.error):
            differences.insert(0, "the request succeeds")
        assert not differences, f"expected: {'; '.join(differences)}\ngot: {answer.describe()}"

    def _fields(self) -> list[str]:
        return [name for name in CHECKS if getattr(self, name) is not None]

    def _describe(self, name: str) -> str:
        value = getattr(self, name)
        return f"{name}={value.__name__ if callable(value) else repr(value)}"


CHECKS: Mapping[str, Callable[[Expected, Answer], bool]] = {
    "text": lambda expected, answer: answer.text == expected.text,
    "thinking": lambda expected, answer: answer.thinking.strip() == expected.thinking,
    "calls": lambda expected, answer: answer.calls == expected.calls,
    "called": lambda expected, answer: [name for name, _ in answer.calls] == expected.called,
    "stop": lambda expected, answer: answer.stop_reason == expected.stop,
    "sequence": lambda expected, answer: answer.stop_sequence == expected.sequence,
    "noted": lambda expected, answer: str(expected.noted) in answer.noted,
    "not_noted": lambda expected, answer: str(expected.not_noted) not in answer.noted,
    "error": lambda expected, answer: (answer.status, answer.error.get("type")) == expected.error,
    "message": lambda expected, answer: re.match(str(expected.message), answer.message) is not None,
    "most_output": lambda expected, answer: answer.usage.get("output_tokens", 0) <= (expected.most_output or 0),
    "most_seconds": lambda expected, answer: answer.seconds <= (expected.most_seconds or 0),
    "satisfies": lambda expected, answer: expected.satisfies is None or expected.satisfies(answer),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One request, sent as JSON and as a stream, to each of the servers (names by spaces)."""

    name: str
    servers: str
    ask: Mapping[str, Any]
    expected: Expected
    forms: tuple[bool, ...] = (False, True)  # whether to stream


@dataclass(frozen=True, slots=True)
class Conversation:
    """An answer given back as it came, JSON or streamed, and the answer after that.

    Calls in the first answer are followed by their results, an answer without calls by the user text `then`. `replaced`
    takes the place of the first user text in the second request.
    """

    name: str
    servers: str
    ask: Mapping[str, Any]
    expected: Expected
    then: str = "hi"
    replaced: str | None = None
    first: Expected = field(default_factory=Expected)
