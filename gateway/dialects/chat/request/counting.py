"""A prompt as the question for its number of tokens, in the form that this server's tokenizer takes.

llama.cpp counts a chat request; vLLM's `/tokenize` lies beside the v1 routes; SGLang and LiteLLM count Anthropic's form
(seen 2026-11: vLLM 0.32.0, SGLang 0.5.23, llama.cpp build 11549, LiteLLM 1.108.7). All of them apply the model's chat
template, tools included, so the number is that of a message's `usage`.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.base import CountCall
from gateway.schemas.openai import ChatRequest
from gateway.upstream.routes.route import Route

# Fields of Messages that make up a prompt.
MESSAGES_FIELDS = ("messages", "system", "tools", "tool_choice", "thinking")
# Fields of a chat request that vLLM's tokenizer takes beside the messages.
TOKENIZE_FIELDS = (
    *("model", "messages", "tools", "chat_template_kwargs", "continue_final_message", "add_generation_prompt"),
)
NOT_PROMPT = frozenset({"stream", "stream_options"})


def of_messages(request: Mapping[str, Any], route: Route) -> CountCall:
    body = {name: request[name] for name in MESSAGES_FIELDS if name in request} | {"model": route.target.model}
    return _call(route, route.upstream.url + "/messages/count_tokens", body, "input_tokens")


def of_chat(body: ChatRequest, route: Route) -> CountCall | None:
    """Return None for a server that counts no chat requests."""
    fields: Mapping[str, Any] = body
    match route.upstream.vendor.counting:
        case "input_tokens":
            kept = {name: value for name, value in fields.items() if name not in NOT_PROMPT}
            return _call(route, route.upstream.url + "/chat/completions/input_tokens", kept, "input_tokens")
        case "tokenize":
            kept = {name: fields[name] for name in TOKENIZE_FIELDS if name in fields}
            return _call(route, route.upstream.url.removesuffix("/v1") + "/tokenize", kept, "count")
        case _:
            return None


def _call(route: Route, url: str, body: Mapping[str, Any], field: str) -> CountCall:
    return CountCall(url, orjson.dumps(body), field, route.upstream.headers)
