"""Estimate of a request's input tokens, read in full: texts by their characters, media by their size.

Counted are the system prompt, every block of every message, tools with their schemas, the schema of an output format,
and what the API adds around them. What no rule here knows counts as the JSON it is, so that nothing counts as zero.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.messages.tokens.estimate import TokenEstimate
from gateway.messages.tokens.media import VIDEO_TOKENS, image_tokens, pdf_steps, sound_tokens
from gateway.messages.tokens.profiles import Profile
from gateway.messages.tokens.text import text_steps
from gateway.messages.tools.client import to_client_function
from gateway.messages.tools.toolsets import TOOLSETS, members

# Around a request, a message, a call or its result. One message of one word takes 6 or 7 tokens more than the word
# on Claude; a call is framed by tags that repeat its name and its id.
REQUEST_TOKENS = 3
MESSAGE_TOKENS = 4
CALL_TOKENS = 12

# Sealed thinking and other base64 of text: three bytes of it in four characters.
BYTES_PER_SEALED_CHARACTER = 0.75

NOT_COUNTED = frozenset({"type", "cache_control"})
SCREEN_SIZE = frozenset({"display_width_px", "display_height_px"})


def prompt_estimate(request: Mapping[str, Any], profile: Profile) -> TokenEstimate:
    """Estimate a request in one step; for requests that are known to be small."""
    tally = PromptTally(profile)
    for _ in tally.read(request):
        pass
    return tally.estimate


@dataclass(slots=True)
class PromptTally:
    """Tokens so far. `assumed` is the part of `media` that comes from a rule of thumb: sizes behind URLs, videos."""

    profile: Profile
    text: float = 0.0
    media: float = 0.0
    assumed: float = 0.0

    @property
    def estimate(self) -> TokenEstimate:
        return TokenEstimate(self.text, self.media)

    def read(self, request: Mapping[str, Any]) -> Iterator[None]:
        """Yields after each step of about a millisecond at most, for callers with other things to do in between."""
        self.text += REQUEST_TOKENS
        yield from self._read_tools(request.get("tools") or ())
        yield from self._read_content(request.get("system"))
        output = (request.get("output_config") or {}).get("format") or request.get("output_format")
        if output:
            yield from self._read_json(output.get("schema"))
        for message in request["messages"]:
            self.text += MESSAGE_TOKENS
            yield from self._read_content(message.get("content"))

    def _read_tools(self, tools: Any) -> Iterator[None]:
        if tools:
            self.text += self.profile.tool_prompt
        for tool in tools:
            for part in _parts_of(tool):
                yield from self._read_json(part)

    def _read_content(self, content: Any) -> Iterator[None]:
        if isinstance(content, str):
            yield from self._read_text(content)
        else:
            for block in content or ():
                yield from self._read_block(block)

    def _read_block(self, block: Mapping[str, Any]) -> Iterator[None]:
        match block["type"]:
            case "text":
                yield from self._read_text(block["text"])
            case "tool_use" | "server_tool_use" | "mcp_tool_use":
                self.text += CALL_TOKENS
                yield from self._read_text(block["name"])
                yield from self._read_json(block["input"])
            case "tool_result" | "mcp_tool_result":
                self.text += CALL_TOKENS
                yield from self._read_content(block.get("content"))
            case "thinking":
                yield from self._read_thinking(block)
            case "redacted_thinking":
                self.text += self._sealed(block["data"])
            case "search_result":
                yield from self._read_texts(block["source"], block["title"])
                yield from self._read_content(block["content"])
            case "compaction":
                yield from self._read_text(block.get("content") or "")
            case _:
                yield from self._read_other(block)

    def _read_other(self, block: Mapping[str, Any]) -> Iterator[None]:
        match block["type"]:
            case "image":
                self._add_media(image_tokens(block["source"], self.profile), known=block["source"]["type"] == "base64")
            case "document":
                yield from self._read_texts(block.get("title") or "", block.get("context") or "")
                yield from self._read_document(block["source"])
            case "input_audio":
                self._add_media(sound_tokens(block["input_audio"]), known=True)
            case "video_url":
                self._add_media(VIDEO_TOKENS, known=False)
            case _:
                yield from self._read_json({name: value for name, value in block.items() if name not in NOT_COUNTED})

    def _read_document(self, source: Mapping[str, Any]) -> Iterator[None]:
        match source["type"]:
            case "text":
                yield from self._read_text(source["data"])
            case "content":
                yield from self._read_content(source["content"])
            case "base64":
                for tokens in pdf_steps(source["data"], self.profile):
                    self.media += tokens
                    yield
            case _:
                self._add_media(self.profile.page, known=False)

    def _read_thinking(self, block: Mapping[str, Any]) -> Iterator[None]:
        """Shown thinking is a summary or the thing itself; the signature holds it all, whether it is shown or not."""
        before = self.text
        yield from self._read_text(block["thinking"])
        self.text = max(self.text, before + self._sealed(block["signature"]))

    def _read_texts(self, *texts: str) -> Iterator[None]:
        for text in texts:
            yield from self._read_text(text)

    def _read_json(self, value: Any) -> Iterator[None]:
        yield from self._read_text(orjson.dumps(value).decode())

    def _read_text(self, text: str) -> Iterator[None]:
        for tokens in text_steps(text, self.profile.reading):
            self.text += tokens
            yield

    def _add_media(self, tokens: float, *, known: bool) -> None:
        self.media += tokens
        if not known:
            self.assumed += tokens

    def _sealed(self, data: str) -> float:
        return len(data) * BYTES_PER_SEALED_CHARACTER / self.profile.bytes_per_token


def _parts_of(tool: Mapping[str, Any]) -> Iterator[Any]:
    """Yield a tool's parts in the prompt: name, description and schema, which typed tools get here."""
    kind = tool.get("type") or "custom"
    if kind in TOOLSETS:
        yield from (list(member) for member in members(tool))
        return
    # A tool is known by its type alone; a screen has a size as well.
    is_known = kind != "custom" and (not kind.startswith("computer_") or tool.keys() >= SCREEN_SIZE)
    known = to_client_function(tool) if is_known else None
    if known is not None:
        yield [tool.get("name"), *known]
    else:
        yield {name: value for name, value in tool.items() if name not in NOT_COUNTED}
