"""Faulty answers of the simulator: one function for each fault that users of real upstreams have met.

A fault that also exists without `stream` occurs there too; otherwise that answer is sound.
"""

from dataclasses import replace

from gateway.simulator.behaviours import (
    THOUGHT,
    complete,
    echo,
    generation_header,
    to_answer,
    to_call,
    to_stream,
    to_two_calls,
)
from gateway.simulator.failures import error_script, moderated_script, overflow_script, to_error, to_error_chunk
from gateway.simulator.failures import unavailable_script as to_unavailable
from gateway.simulator.prompt import SimulatedPrompt
from gateway.simulator.script import COMMENT, HangUp, Hold, Script, broken_off, json_script, stream_script, trickled
from gateway.simulator.shapes import (
    Completion,
    Generation,
    Json,
    to_body,
    to_chunk,
    to_chunks,
    to_ending,
    to_finish,
    to_fragments,
    to_message,
    to_usage_chunk,
    usage_of,
)

# A body of two kilobytes takes about a second: slow enough that reads stay apart, quick enough to wait for.
TRICKLE_SECONDS = 0.0005

PAGE = b"<!doctype html><html><title>Sign in</title><body>A proxy answers in the upstream's place.</body></html>"


def error(_prompt: SimulatedPrompt, generation: Generation, status: int) -> Script:
    return error_script(status, reset_at=generation.created)


def error_in_200(_prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Answer with an error as the JSON body of a 200, streamed or not."""
    return json_script({"error": to_error(502)}, headers=generation_header(generation))


def error_first(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Stream an error as the only chunk: without content so far, another attempt is safe."""
    if not prompt.streamed:
        return error_in_200(prompt, generation)
    return stream_script(COMMENT, to_error_chunk(generation, 529), headers=generation_header(generation))


def error_mid_stream(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Send half an answer, then an error; without `stream`, half an answer in a choice with the error."""
    completion = to_answer(prompt)
    if prompt.streamed:
        chunks = to_chunks(generation, completion)
        said = chunks[: len(chunks) // 2]
        return stream_script(COMMENT, *said, to_error_chunk(generation), headers=generation_header(generation))
    half = replace(completion, text=completion.text[: len(completion.text) // 2], finish_reason="error")
    body = to_body(generation, replace(half, native_finish_reason="error"))
    body["choices"][0]["error"] = to_error(502, "Provider disconnected unexpectedly")
    return json_script(body, headers=generation_header(generation))


def hang_up(prompt: SimulatedPrompt, generation: Generation) -> Script:
    return broken_off(echo(prompt, generation), HangUp())


def hang_up_early(_prompt: SimulatedPrompt, _generation: Generation) -> Script:
    return Script((HangUp(),))


def cut_off(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """End a stream properly in HTTP, but without finish reason, usage and `[DONE]`."""
    script = echo(prompt, generation)
    return broken_off(script) if prompt.streamed else script


def silent(_prompt: SimulatedPrompt, _generation: Generation) -> Script:
    return Script((Hold(),))


def silent_mid_stream(prompt: SimulatedPrompt, generation: Generation) -> Script:
    return broken_off(echo(prompt, generation), Hold())


def slow_bytes(prompt: SimulatedPrompt, generation: Generation) -> Script:
    return trickled(echo(prompt, generation), TRICKLE_SECONDS)


def crlf(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Use line ends of two bytes, and no space after `data:`."""
    script = echo(prompt, generation)
    if not prompt.streamed:
        return script
    pieces = (
        step.replace(b"\n", b"\r\n").replace(b"data: ", b"data:", 1) for step in script.steps if type(step) is bytes
    )
    return replace(script, steps=tuple(pieces))


def late_usage(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Send usage in a last chunk without choices; the finish reason comes once, before it."""
    completion = to_answer(prompt)
    if not prompt.streamed:
        return complete(prompt, generation, completion)
    return to_stream(generation, [*_unfinished(generation, completion), to_usage_chunk(generation, completion)])


def no_usage(prompt: SimulatedPrompt, generation: Generation) -> Script:
    completion = to_answer(prompt)
    if prompt.streamed:
        return to_stream(generation, _unfinished(generation, completion))
    body = to_body(generation, completion)
    del body["usage"]
    return json_script(body, headers=generation_header(generation))


def html_200(_prompt: SimulatedPrompt, _generation: Generation) -> Script:
    return Script((PAGE,), 200, (("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(PAGE)))))


def overflow(prompt: SimulatedPrompt, _generation: Generation) -> Script:
    return overflow_script(prompt.tokens)


def moderated(prompt: SimulatedPrompt, generation: Generation) -> Script:
    return moderated_script(generation.model, prompt.text)


def unavailable(_prompt: SimulatedPrompt, generation: Generation) -> Script:
    return to_unavailable(generation.model)


def tool_whole(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Send a call with all its arguments, the finish reason and the usage in one chunk."""
    completion = to_call(prompt, generation)
    if not prompt.streamed or not completion.calls:
        return complete(prompt, generation, completion)
    chunk = to_chunk(
        generation,
        {"role": "assistant", "content": None, "tool_calls": to_message(completion)["tool_calls"]},
        finish_reason=completion.finish_reason,
        native_finish_reason=completion.native_finish_reason,
    )
    return to_stream(generation, [chunk | {"usage": usage_of(completion)}])


def tool_stop(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Send a call with a finish reason that does not mention it."""
    completion = to_call(prompt, generation)
    return complete(prompt, generation, replace(completion, finish_reason="stop", native_finish_reason="stop"))


def tool_bad_json(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Send a call with arguments that lack their last brace."""
    completion = to_call(prompt, generation)
    calls = tuple(replace(call, arguments=call.arguments[:-1]) for call in completion.calls)
    return complete(prompt, generation, replace(completion, calls=calls))


def tools_same_id(prompt: SimulatedPrompt, generation: Generation) -> Script:
    return _with_ids(prompt, generation, "call_0")


def tools_no_id(prompt: SimulatedPrompt, generation: Generation) -> Script:
    return _with_ids(prompt, generation, "")


def reasoning_content(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Send thinking under the name that DeepSeek and vLLM use, without details or signature."""
    completion = to_answer(prompt)
    if not prompt.streamed:
        body = to_body(generation, completion)
        body["choices"][0]["message"]["reasoning_content"] = THOUGHT
        return json_script(body, headers=generation_header(generation))
    thoughts = [
        to_chunk(generation, {"role": "assistant", "content": None, "reasoning_content": fragment})
        for fragment in to_fragments(THOUGHT)
    ]
    return to_stream(generation, thoughts + to_chunks(generation, completion))


def think_tags(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Send thinking within the text, as servers do that do not extract it."""
    completion = to_answer(prompt)
    return complete(prompt, generation, replace(completion, text=f"<think>\n{THOUGHT}\n</think>\n\n{completion.text}"))


def _unfinished(generation: Generation, completion: Completion) -> list[Json]:
    """Return the chunks before the first finish reason."""
    ending = to_ending(generation, completion)
    return [*to_chunks(generation, completion)[: -len(ending)], to_finish(generation, completion)]


def _with_ids(prompt: SimulatedPrompt, generation: Generation, identifier: str) -> Script:
    completion = to_two_calls(prompt, generation)
    calls = tuple(replace(call, id=identifier) for call in completion.calls)
    return complete(prompt, generation, replace(completion, calls=calls))
