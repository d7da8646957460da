"""Differences of one kind of server from OpenAI's chat completions, in requests and answers: one frozen value.

The rows are in `hosted` and `servers`. A row is data: a conversion reads the facts that routing copies
into a target, and never asks for the vendor.
"""

from dataclasses import dataclass
from typing import Literal

from gateway.upstream.vendors.adaptation import Adaptation

Flavor = Literal["openrouter", "openai"]
LengthField = Literal["max_tokens", "max_completion_tokens"]
ReasoningField = Literal["reasoning_details", "reasoning_content", "reasoning", "thinking_parts"]
# How tokens of a prompt are counted: llama.cpp's route for chat requests, vLLM's and SGLang's `/tokenize`, and the
# Messages route that several servers have.
Counting = Literal["input_tokens", "tokenize", "messages"]

# A field of the chat request, dots between the keys of nested objects, and its value.
Setting = tuple[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class ReasoningSupport:
    """Parameters that control a model's thinking.

    `style`: "openrouter" sends a `reasoning` object, "fields" what the other attributes say, "none" nothing at all.
    `on`, `off`: settings that turn thinking on and off; empty where there is no such switch. `takes_effort`: it takes a
    `reasoning_effort`, one of `supported_efforts`, or any where that is empty. `budget_field`: takes a number of
    tokens. `mandatory`: thinking cannot be off. `supports_max_tokens`: of OpenRouter's object.
    """

    style: Literal["openrouter", "fields", "none"] = "openrouter"
    on: tuple[Setting, ...] = ()
    off: tuple[Setting, ...] = ()
    takes_effort: bool = True
    supported_efforts: tuple[str, ...] = ()
    budget_field: str = ""
    mandatory: bool = False
    supports_max_tokens: bool = False


# For unknown servers and models: most take an effort, and "none" turns thinking off (vLLM 0.32,
# SGLang 0.5.23, llama.cpp build 11549; 2026-11). Where it is refused the fallbacks leave it out.
ANY_EFFORT = ReasoningSupport("fields", off=(("reasoning_effort", "none"),))
# What several rows have in common.
NO_REASONING = ReasoningSupport("none", takes_effort=False)
EFFORT_OFF: tuple[Setting, ...] = (("reasoning_effort", "none"),)
ALL_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
FOUR_EFFORTS = ReasoningSupport("fields", off=EFFORT_OFF, supported_efforts=("none", "low", "medium", "high"))
SAMPLERS = frozenset({"min_p", "repetition_penalty", "top_k"})


@dataclass(frozen=True, slots=True)
class MessagesSupport:
    """Support of a server for Anthropic Messages, at `<url>/messages`.

    `preferred`: for which models a request is sent as it came rather than converted to chat. `auth`: the header of the
    key. `keeps_query`, `keeps_billing`: it takes the query string, and the billing header of Claude Code, which spoils
    the prompt cache of any other server. `repeats_betas`: it reads betas from OpenRouter's header. `blocks`: the types
    of blocks that it takes, if it takes no others and no tools but custom ones; None for a server that takes all.
    """

    preferred: Literal["all", "claude", "none"] = "none"
    auth: Literal["x-api-key", "bearer"] = "x-api-key"
    keeps_query: bool = False
    keeps_billing: bool = False
    repeats_betas: bool = False
    blocks: frozenset[str] | None = None

    @property
    def depends_on_model(self) -> bool:
        return self.preferred == "claude"


@dataclass(frozen=True, slots=True)
class Vendor:
    """One row. A default is OpenAI's way, or the one that an unknown server most likely understands.

    `base`: the v1 base of its API, with a word in capitals for what differs between accounts.

    Recognition. `hosts`: of its API, subdomains included. `owned_by`: in its list of models. `server`: its header.
    `marks`: paths below the server's root, and a text in each one's answer without a key.

    The request. `length_field`: None where it depends on the model. `parameters`: those taken beyond OpenAI's.
    `renamed`: parameters of ours, and what it calls them. `refused`: parameters of OpenAI's that it does not take.
    `constants` go into each request; `adaptations`, too, and those `by_model` where the pattern matches the model.
    `keeps_parallel`: it obeys `parallel_tool_calls`. `keeps_stored`: with `store` an answer stays in the account.
    `format_excludes_tools`: with an output format it calls no tool.
    `answer_within_context`: it refuses a `max_tokens` above its context length.

    Reasoning. `reasoning`: None leaves it to the model's family. `reasoning_field`: where earlier reasoning goes back,
    "" where it cannot, None leaves it to the family.

    Other dialects. `messages`: how it speaks Anthropic's own API, if it does. `responses_models`: a pattern of the
    models that are asked by OpenAI's Responses, since chat completions takes less from them.

    The answer. `names_stops`: it names the stop sequence that ended a call, and the stream stays sound.
    `continuous_usage`: it can send the prompt's tokens with the first chunk. `counting`: how it counts prompts exactly.
    """

    name: str
    title: str
    base: str = ""
    hosts: tuple[str, ...] = ()
    owned_by: tuple[str, ...] = ()
    server: str = ""
    marks: tuple[tuple[str, str], ...] = ()
    flavor: Flavor = "openai"
    auth: Literal["bearer", "api-key", "x-api-key"] = "bearer"
    length_field: LengthField | None = None
    parameters: frozenset[str] = frozenset()
    renamed: tuple[tuple[str, str], ...] = ()
    refused: frozenset[str] = frozenset()
    constants: tuple[Setting, ...] = ()
    adaptations: tuple[Adaptation, ...] = ()
    adaptations_by_model: tuple[tuple[str, Adaptation], ...] = ()
    keeps_parallel: bool = True
    keeps_stored: bool = False
    format_excludes_tools: bool = False
    answer_within_context: bool = False
    reasoning: ReasoningSupport | None = None
    reasoning_by_model: tuple[tuple[str, ReasoningSupport], ...] = ()
    reasoning_field: ReasoningField | Literal[""] | None = None
    names_stops: bool = False
    continuous_usage: bool = False
    counting: Counting | None = None
    messages: MessagesSupport = MessagesSupport()
    responses_models: str = ""

    def has_host(self, host: str) -> bool:
        return any(host == known or host.endswith(f".{known}") for known in self.hosts)
