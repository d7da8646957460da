"""Upstreams for the programs of checks: which model and prompt plays each role."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tests.servers.registry import SERVERS
from tests.servers.running import running

SIMULATED: Final[dict[str, Any]] = {
    "text": ["sim/text-20", "Say it."],
    "tool": ["sim/tool", "The weather?"],
    "two": ["sim/tools-interleaved", "The weather?"],
    "thinking": ["sim/thinking", "Think."],
    "thinking_tool": ["sim/thinking-tool", "Think."],
    "schema": ["sim/echo", "A city."],
    "length": ["sim/length", "Go on."],
    "refusal": ["sim/refusal", "No."],
    "limited": ["sim/error-429", "Hello."],
    "broken": ["sim/error-mid-stream", "Hello."],
    "overflow": ["sim/overflow", "Hello."],
    "silent": ["sim/silent", "Hello."],
    "slow": ["sim/stream-200-d10", "Hello."],
    "stop": ["sim/text-50", "Hello."],
    "media": ["sim/echo", "Look."],
    "stop_sequences": ["six"],
}
# On Responses: a model that shows summaries of its reasoning.
OPENAI: Final[dict[str, Any]] = {
    "thinking": ["gpt-5.6", "Think."],
    "thinking_tool": ["gpt-5.6", "Use get_weather."],
}
# The marks of the scripted model. llama.cpp follows no schema beside its template's grammar.
SCRIPTED: Final[dict[str, Any]] = {
    "text": ["scripted", "hi"],
    "tool": ["scripted", "#tool"],
    "two": ["scripted", "#two"],
    "thinking": ["scripted", "#think"],
    "thinking_tool": ["scripted", "#thinktool"],
    "length": ["scripted", "#long"],
    "slow": ["scripted", "#long"],
    "stop": ["scripted", "#stop"],
    "stop_sequences": ["STOP"],
}
# What llama.cpp's Messages lack for every client: ids of Anthropic's form, signatures, and the check of a request.
LLAMA_CPP_MESSAGES: Final = ["create", "thinking_and_its_return", "batches", "wrong_requests"]


@dataclass(frozen=True, slots=True)
class ProgramUpstream:
    """`settings` of the gateway before it."""

    name: str
    roles: dict[str, Any]
    settings: dict[str, str] = field(default_factory=dict)


@contextmanager
def program_upstreams(dialect: str) -> Iterator[list[ProgramUpstream]]:
    """The simulator, and llama.cpp where its wheel installs."""
    simulator = ProgramUpstream("the simulator", SIMULATED)
    if dialect == "responses":
        simulator = ProgramUpstream("the simulator", SIMULATED | OPENAI, {"GATEWAY_SIMULATOR": "openai"})
    missing = SERVERS["llama-cpp"].missing
    if missing is not None:
        print(f"without llama.cpp: {missing}")
        yield [simulator]
        return
    known = {"known": LLAMA_CPP_MESSAGES} if dialect == "messages" else {}
    with running("llama-cpp") as server:
        settings = {"GATEWAY_UPSTREAM_URL": server.api, "GATEWAY_UPSTREAM_API_KEY": "none"}
        yield [simulator, ProgramUpstream("llama.cpp", SCRIPTED | known, settings)]
