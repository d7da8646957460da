"""docs/upstreams.md: what is sent to each vendor's servers, from the table, and what was tried on the real ones.

python -m tests.support.upstreams_page [--check]
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.dialects.chat.request.fallbacks.apply import REWRITES
from gateway.simulator.vendors.row import SimulatedVendor
from gateway.simulator.vendors.rows import VENDOR_ROWS
from gateway.upstream.vendors.adaptation import Adaptation
from gateway.upstream.vendors.registry import COMPATIBLE, HOSTED, OPENROUTER, SERVERS
from gateway.upstream.vendors.vendor import ReasoningSupport, Setting, Vendor
from tests.servers.cases import CASES, CONVERSATIONS
from tests.servers.expected_failures import DIALECT_FAILURES, EXPECTED_FAILURES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "upstreams.md"

# Names of vendors' rows, and of the servers in tests/servers.
TRIED = {
    "llama-cpp-python": "llama-cpp-python",
    "litellm": "litellm",
    "llamacpp": "llama-cpp",
    "sglang": "sglang",
    "transformers": "transformers",
    "vllm": "vllm",
}

# Advice to operators, by the vendor's name.
ADVICE = {
    "litellm": "LiteLLM repeats failed calls, also refusals that its server reports as a 500: with one deployment it "
    "takes 5 to 8 seconds until the gateway learns of them. With `headers = { x-litellm-num-retries = "
    '"0" }` at the upstream in `gateway.toml` only the gateway repeats, and asks other candidates.',
}

INTRODUCTION = """# Upstreams

<!-- Written by `make docs` from the tables of vendors and the tests of real and simulated servers. -->

Dragoman sends OpenAI's chat completions to most upstreams, adapted to the differences of these servers. It recognises a
server by the host of `GATEWAY_UPSTREAM_URL`, or at the start of the gateway by its list of models, its `server` header
and a few paths that need no key. `GATEWAY_UPSTREAM_FLAVOR` sets the server, by the name in brackets below. Unknown
servers get strict chat completions.

## Dialects

`GATEWAY_DIALECT` sets the API that is used with the upstream. `chat` converts to chat completions at
`<url>/chat/completions`. `messages` is for servers that speak Anthropic's Messages at `<url>/messages`: they get the
client's bytes with the model's name replaced, its `anthropic-*` headers, and the operator's key; their answers, streams
and errors are returned unchanged, and they validate the request. `auto` is `messages` for Anthropic's API, for
addresses with a part `/anthropic` (as at Azure, Bedrock, DeepSeek, Z.ai, Moonshot, Qwen and MiniMax) and for Claude on
OpenRouter; `responses` for OpenAI's models from GPT-5.4 on at OpenAI and Azure, which refuse tools on chat unless
reasoning is off; and `chat` elsewhere, since most compatible servers drop more of a Messages request than the
conversion does.

Streams of servers that speak Messages are passed on unchanged if clients can read them. The gateway corrects content
blocks that overlap, skip an index, or lack their start or end; a thinking block without a signature; a missing stop
reason or `message_stop`; an `end_turn` beside a tool call or a named stop sequence; and, except for Claude, call
arguments that are nearly JSON. If a call was truncated, its arguments end in null, and the stop reason is never
`tool_use`, as on chat. Claude's streams keep unfinished arguments as they came; in JSON, threads and batches these end
in null too.

`responses` sends OpenAI's Responses at `<url>/responses`, stateless (`store: false`). The model's encrypted reasoning
travels in the signatures of the client's thinking blocks, and goes back in front of the calls that it led to.

Servers that speak Messages do not get `anthropic-organization-id`, `anthropic-workspace-id` and
`anthropic-user-profile-id`, which choose the account that pays; extension objects (`openai`, `openrouter`, `upstream`);
Claude Code's billing header, except for Anthropic's API; and thinking that another model signed. All of these except
the headers are noted in `x-gateway-ignored`.

## Refusals

When an upstream refuses part of a request, the gateway reads the refusal and tries again without that part: a field,
words of a JSON schema, an image for a text model, a system message in the middle, or too high a `max_tokens`. A request
costs at most two more calls, and `x-gateway-ignored` lists the changes. A change that helped is remembered for this
server and model for a day, in all processes that share a Redis, so that later requests succeed at once. A refusal that
a server reports as its own failure (500) is a 400 for the client, is not repeated, and does not count against the
upstream.

## Sources

Local servers were tested themselves; the table at the end has a column for each. Hosted APIs were not called: the facts
about them come from their documentation, their client packages and their users' reports. The simulator plays them by
separate rows, which refuse what these servers refuse, and `tests/e2e/test_simulated_vendors.py` holds thirteen
conversations with each, as JSON and streamed. It also speaks Messages and Responses, like these servers: `dragoman dev`
uses chat with it unless `GATEWAY_DIALECT` is set.

"""


def to_page() -> str:
    parts = [INTRODUCTION, "## Servers of your own\n"]
    parts += [_section(vendor) for vendor in SERVERS]
    parts.append("## Hosted APIs\n")
    parts += [_section(vendor) for vendor in HOSTED if vendor is not OPENROUTER]
    parts += [UNKNOWN, _matrix()]
    return "\n".join(parts).rstrip() + "\n"


def _section(vendor: Vendor) -> str:
    lines = [f"### {vendor.title} (`{vendor.name}`)", "", *_set_up(vendor), ""]
    lines += [f"- {fact}" for fact in _facts(vendor)]
    lines += [f"- {ADVICE[vendor.name]}"] if vendor.name in ADVICE else []
    if vendor.name in VENDOR_ROWS:
        lines += ["", _simulated(VENDOR_ROWS[vendor.name])]
    if vendor.name in TRIED:
        lines += ["", *_failing(TRIED[vendor.name])]
        lines += _failing_dialects(TRIED[vendor.name])
    return "\n".join(lines).rstrip() + "\n"


def _simulated(row: SimulatedVendor) -> str:
    """Return the simulator's names for this server."""
    asked = " or ".join(f"`GATEWAY_SIMULATOR={name}`" for name in (row.name, *row.aliases))
    named = f"without an upstream, so do models named `{row.name}/…`."
    return f"Shown by the simulator, not by the real server: {asked} with `dragoman dev` plays it; {named}"


def _set_up(vendor: Vendor) -> Iterator[str]:
    yield "```sh"
    yield f"export GATEWAY_UPSTREAM_URL={vendor.base}"
    yield "export GATEWAY_UPSTREAM_API_KEY=" + ("your-key" if vendor.hosts else "none  # or its key")
    yield "dragoman serve"
    yield "```"


def _facts(vendor: Vendor) -> Iterator[str]:
    yield from _parameters(vendor)
    if vendor.reasoning is not None:
        yield from _thinking("Thinking", vendor.reasoning)
    for pattern, support in vendor.reasoning_by_model:
        yield from _thinking(f"Thinking of models like `{pattern}`", support)
    if vendor.reasoning_field is not None:
        field = vendor.reasoning_field
        yield f"Earlier thinking goes back as `{field}`." if field else "Earlier thinking is not sent back, and noted."
    yield from (_rewrite(adaptation) for adaptation in vendor.adaptations)
    for pattern, adaptation in vendor.adaptations_by_model:
        yield f"For models like `{pattern}`: {_rewrite(adaptation)}"
    if not vendor.keeps_parallel:
        yield "`disable_parallel_tool_use` has no effect, which is noted."
    if vendor.format_excludes_tools:
        yield "With an output format no tool is called, which is noted."
    yield from _messages(vendor)
    if vendor.counting:
        yield "Counts the tokens of a prompt exactly."


def _messages(vendor: Vendor) -> Iterator[str]:
    match vendor.messages.preferred:
        case "all":
            yield "Gets Messages requests as they are."
        case "claude":
            yield "Gets Messages requests as they are for models of Claude."
    if vendor.responses_models:
        yield f"Is asked by Responses for models like `{vendor.responses_models}`."


def _parameters(vendor: Vendor) -> Iterator[str]:
    if vendor.length_field:
        yield f"The limit of an answer is sent as `{vendor.length_field}`."
    if vendor.parameters:
        yield f"Takes {_names(vendor.parameters)} as well."
    yield from (f"`{name}` is sent as `{other}`." for name, other in vendor.renamed)
    if vendor.refused:
        yield f"Never sent, and noted: {_names(vendor.refused)}."
    yield from (f"Always sent: {_setting(setting)}." for setting in vendor.constants)


def _thinking(subject: str, support: ReasoningSupport) -> Iterator[str]:
    ways = []
    if support.on:
        ways.append(f"on by {', '.join(map(_setting, support.on))}")
    if support.off:
        ways.append(f"off by {', '.join(map(_setting, support.off))}")
    if support.mandatory:
        ways.append("always on")
    if support.takes_effort:
        listed = ", ".join(support.supported_efforts)
        ways.append(f"effort {listed}" if listed else "any effort")
    if support.budget_field:
        ways.append(f"budget as `{support.budget_field}`")
    yield f"{subject}: {'; '.join(ways)}." if ways else f"{subject} cannot be controlled, which is noted."


def _setting(setting: Setting) -> str:
    path, value = setting
    return f"`{path}: {str(value).lower() if isinstance(value, bool) else value}`"


def _rewrite(adaptation: Adaptation) -> str:
    """Return the first sentence of the rewrite's docstring."""
    words = " ".join((REWRITES[adaptation.kind].__doc__ or "").split())
    sentence = words.partition(". ")[0].rstrip(".") + "."
    return f"{sentence} ({_names(adaptation.names)})" if adaptation.names else sentence


def _failing_dialects(server: str) -> Iterator[str]:
    """Yield the failures of a server in its other dialects."""
    for dialect, failures in DIALECT_FAILURES.get(server, {}).items():
        yield ""
        yield f"With `GATEWAY_DIALECT={dialect}`:"
        yield ""
        for reason in dict.fromkeys(failures.values()):
            cases = [case for case, its in failures.items() if its == reason]
            yield f"- {reason}: {'; '.join(cases)}"


def _failing(server: str) -> Iterator[str]:
    failing = {name: reason for name, (servers, reason) in EXPECTED_FAILURES.items() if server in servers.split()}
    if failing:
        yield "Not right yet, or impossible:"
        yield ""
        yield from (f"- {name}: {reason}" for name, reason in sorted(failing.items()))


def _matrix() -> str:
    """Return the table of cases that are tried on real servers, with each outcome."""
    columns = [vendor for vendor in SERVERS if vendor.name in TRIED]
    lines = [
        "## Tried on real servers",
        "",
        '`tests/servers` runs these cases. "noted": right, with a note in `x-gateway-ignored`; "–": not tried there.',
        "",
        f"| case | {' | '.join(vendor.title for vendor in columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for case in (*CASES, *CONVERSATIONS):
        failing = EXPECTED_FAILURES.get(case.name, ("", ""))[0].split()
        right = "noted" if case.expected.noted else "yes"
        names = [TRIED[vendor.name] for vendor in columns]
        tried = case.servers.split()
        cells = ["–" if name not in tried else "no" if name in failing else right for name in names]
        lines.append(f"| {case.name.replace('|', '/')} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


UNKNOWN = f"""## Any other server (`{COMPATIBLE.name}`)

- OpenAI's parameters are sent; others are left out and noted.
- Thinking: `reasoning_effort`, with `none` to turn it off; left out again where it is refused.
- Earlier thinking goes back as `reasoning_content`; left out again where it is refused.
- Stop sequences are matched by the gateway, since few servers name the one they found.
"""


def _names(names: Sequence[str] | frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in (sorted(names) if isinstance(names, frozenset) else names))


def main(arguments: Sequence[str]) -> int:
    page = to_page()
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page:
        sys.stderr.write("docs/upstreams.md is not up to date: run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
