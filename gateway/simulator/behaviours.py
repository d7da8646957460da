"""Sound answers of the simulator: one function per kind of answer, from a prompt to a script.

Every answer states that no model was called. `faults` breaks these answers.
"""

import re
from dataclasses import replace
from itertools import cycle, islice

import orjson

from gateway.simulator.failures import error_script
from gateway.simulator.prompt import SimulatedPrompt, Tool, is_asked_for
from gateway.simulator.sample import to_sample
from gateway.simulator.script import COMMENT, DONE, Pause, Script, json_script, paced, stream_script
from gateway.simulator.shapes import (
    BYTES_PER_TOKEN,
    Completion,
    Generation,
    Json,
    SimulatedToolCall,
    riffle,
    to_body,
    to_call_deltas,
    to_chunk,
    to_chunks,
    to_encrypted,
    to_ending,
    to_signature,
    to_thinking,
    to_tokens,
)

BANNER = "This answer comes from Dragoman's built-in simulator: no model was asked."
QUOTED_CHARACTERS = 4000  # of a prompt or a tool result; an echo of a whole code base is useless
QUOTED = re.compile(r"`([^`\n]+)`")

# Four bytes each, so that n of them are n tokens of the estimate.
WORDS = ("one ", "two ", "six ", "ten ")

THOUGHT = "The simulator does not think. These words stand where a model's thinking would be. "


def echo(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """State that this is the simulator, and repeat the user's last text. Call a tool if it asks for one by name."""
    asked = tuple(tool for tool in prompt.tools if prompt.tool_required or is_asked_for(tool, prompt.text))
    if asked and not prompt.results:
        return complete(prompt, generation, calling(prompt, generation, asked[:1]))
    return complete(prompt, generation, to_answer(prompt))


def text(prompt: SimulatedPrompt, generation: Generation, count: int) -> Script:
    return complete(prompt, generation, Completion(prompt.tokens, to_words(count)))


def stream(prompt: SimulatedPrompt, generation: Generation, count: int, milliseconds: int) -> Script:
    """Stream `count` deltas, `milliseconds` apart; without `stream`, answer with one body after the same time."""
    script = text(prompt, generation, count)
    if prompt.streamed:
        return paced(script, milliseconds / 1000)
    return replace(script, steps=(Pause(count * milliseconds / 1000), *script.steps))


def thinking(prompt: SimulatedPrompt, generation: Generation) -> Script:
    return complete(prompt, generation, replace(to_answer(prompt), details=(to_thinking(THOUGHT),)))


def tool(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Call the first offered tool, and end the loop when its result comes back."""
    return complete(prompt, generation, to_call(prompt, generation))


def tools_parallel(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Make two calls, one after the other: of the first two tools, or twice of the only one."""
    return complete(prompt, generation, to_two_calls(prompt, generation))


def tools_interleaved(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Make two calls with alternating argument fragments, distinguished only by their index."""
    completion = to_two_calls(prompt, generation)
    if not prompt.streamed or len(completion.calls) < 2:
        return complete(prompt, generation, completion)
    first, second = (to_call_deltas(index, call) for index, call in enumerate(completion.calls))
    chunks = [to_chunk(generation, delta) for delta in riffle(first, second)]
    return to_stream(generation, chunks + to_ending(generation, completion))


def thinking_tool(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Think, then call a tool. The next turn must return the signed thinking, or it is refused as by Claude."""
    if prompt.results and not prompt.replayed:
        return error_script(400, "Expected `thinking` or `redacted_thinking`, but found `tool_use`.")
    return _signed_call(prompt, generation, to_thinking(THOUGHT))


def encrypted(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Make a call with an encrypted thought signature, which must come back unchanged, as with Gemini 3."""
    if prompt.results and not prompt.replayed:
        return error_script(400, "Function call is missing a thought_signature in functionCall parts.")
    return _signed_call(prompt, generation, to_encrypted(generation.call_id(0)))


def length(prompt: SimulatedPrompt, generation: Generation) -> Script:
    return complete(
        prompt, generation, replace(to_answer(prompt), finish_reason="length", native_finish_reason="max_tokens")
    )


def refusal(prompt: SimulatedPrompt, generation: Generation) -> Script:
    completion = Completion(
        prompt.tokens,
        refusal="The simulator refuses this, as it was asked to by the model's name.",
        finish_reason="content_filter",
        native_finish_reason="refusal",
    )
    return complete(prompt, generation, completion)


def complete(prompt: SimulatedPrompt, generation: Generation, completion: Completion) -> Script:
    """Return the completion in the form that the prompt requests (JSON or stream), within max_tokens and stop
    sequences."""
    completion = bounded(prompt, completion)
    if prompt.streamed:
        return to_stream(generation, to_chunks(generation, completion))
    return json_script(to_body(generation, completion), headers=generation_header(generation))


def to_stream(generation: Generation, chunks: list[Json]) -> Script:
    """Return the stream: two keep-alive comments, as while a model starts; the chunks, with a comment before the last;
    the end."""
    return stream_script(
        COMMENT, COMMENT, *chunks[:-1], COMMENT, *chunks[-1:], DONE, headers=generation_header(generation)
    )


def generation_header(generation: Generation) -> tuple[tuple[str, str], ...]:
    return (("X-Generation-Id", generation.id),)


def to_answer(prompt: SimulatedPrompt) -> Completion:
    """Return the text of a turn without a call: a quotation, or a value for the requested schema."""
    if prompt.schema is not None:
        return Completion(prompt.tokens, orjson.dumps(to_sample(prompt.schema, iter(()))).decode())
    if prompt.results:
        quotation = "\n\n".join(_quoted(result) for result in prompt.results)
        return Completion(prompt.tokens, f"{BANNER} The tool's result was:\n\n{quotation}")
    return Completion(prompt.tokens, f"{BANNER} Your last message was:\n\n{_quoted(prompt.text)}")


def to_call(prompt: SimulatedPrompt, generation: Generation) -> Completion:
    if prompt.results:
        return to_answer(prompt)
    return calling(prompt, generation, prompt.tools[:1])


def to_two_calls(prompt: SimulatedPrompt, generation: Generation) -> Completion:
    if prompt.results:
        return to_answer(prompt)
    return calling(prompt, generation, tuple(islice(cycle(prompt.tools), 2 if prompt.parallel else 1)))


def calling(prompt: SimulatedPrompt, generation: Generation, tools: tuple[Tool, ...]) -> Completion:
    """Return calls of these tools, with arguments that fit their schemas."""
    if not tools:
        return Completion(prompt.tokens, f"{BANNER} It was to call a tool, but none was offered.")
    calls = tuple(
        SimulatedToolCall(generation.call_id(index), tool.name, _arguments_of(tool, prompt.text))
        for index, tool in enumerate(tools)
    )
    return Completion(prompt.tokens, calls=calls, finish_reason="tool_calls", native_finish_reason="tool_use")


def to_words(count: int) -> str:
    return "".join(islice(cycle(WORDS), count))


def bounded(prompt: SimulatedPrompt, completion: Completion) -> Completion:
    """Return the completion up to the first stop sequence and max_tokens. Calls and thinking stay complete."""
    ends = [at for word in prompt.stop if word and (at := completion.text.find(word)) >= 0]
    if ends:
        completion = replace(completion, text=completion.text[: min(ends)], native_finish_reason="stop_sequence")
    if prompt.max_tokens is None or to_tokens(completion.text) <= prompt.max_tokens:
        return completion
    kept = completion.text.encode()[: prompt.max_tokens * BYTES_PER_TOKEN].decode(errors="ignore")
    return replace(completion, text=kept, finish_reason="length", native_finish_reason="max_tokens")


def replay_fault(prompt: SimulatedPrompt) -> str | None:
    """Return the fault of the returned thinking, in the words of the provider that made it; None if there is none.

    Text may be missing, since clients can request signatures alone. Changed text and foreign signatures are faults.
    """
    for detail in prompt.replayed:
        match detail.get("type"):
            case "reasoning.text" if detail.get("signature") != to_signature(detail.get("text") or THOUGHT):
                return "messages.1.content.0: Invalid `signature` in `thinking` block"
            case "reasoning.encrypted":
                identifier = detail.get("id")
                if identifier not in prompt.called or detail.get("data") != to_encrypted(identifier)["data"]:
                    return "Corrupted thought signature."
    return None


def _signed_call(prompt: SimulatedPrompt, generation: Generation, detail: Json) -> Script:
    if fault := replay_fault(prompt):
        return error_script(400, fault)
    completion = to_call(prompt, generation)
    return complete(prompt, generation, replace(completion, details=(detail,)) if completion.calls else completion)


def _arguments_of(tool: Tool, text: str) -> str:
    arguments = to_sample(tool.parameters, iter(QUOTED.findall(text)))
    return orjson.dumps(arguments if isinstance(arguments, dict) else {}).decode()


def _quoted(text: str) -> str:
    if len(text) <= QUOTED_CHARACTERS:
        return text or "(no text)"
    return f"{text[:QUOTED_CHARACTERS]} … ({len(text) - QUOTED_CHARACTERS} more characters)"
