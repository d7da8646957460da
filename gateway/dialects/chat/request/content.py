"""Blocks of a user's turn, and of tool results, as the parts of chat messages.

Text stays in the parts it came in, since each may end a cached prefix. Media go where the upstream takes them; on
strict ones a tool's pictures move to the next user message, with a pointer left behind. What chat has no form for
becomes text with a header that says what it was.
"""

from typing import TypeAlias, cast

from gateway.dialects.chat.request.scope import Scope
from gateway.dialects.chat.vocabulary import ERROR_MARK, MEDIA_ORIGIN, MEDIA_POINTER
from gateway.errors import InvalidRequest
from gateway.schemas.anthropic import (
    BrowserStateBlockParam,
    ContentBlockParam,
    DocumentBlockParam,
    ImageBlockParam,
    SearchResultBlockParam,
    TextBlockParam,
    ToolResultBlockParam,
    ToolResultContentBlock,
)
from gateway.schemas.openai import ContentPart, FilePart, ImagePart, TextPart, ToolMessage

PartBlock: TypeAlias = ContentBlockParam | ToolResultContentBlock
Content: TypeAlias = str | list[ContentPart]

NO_FILES = "files are not available here; send the content itself, as base64 or by URL"


def to_text_part(block: TextBlockParam, path: str, scope: Scope) -> TextPart:
    part: TextPart = {"type": "text", "text": block["text"]}
    if len(block) > 2:
        scope.mark_cached(part, block, path)
        if block.get("citations"):
            scope.note("dropped", f"{path}.citations", "chat completions do not carry citations of earlier text")
    return part


def to_parts(block: PartBlock, path: str, scope: Scope) -> list[ContentPart]:
    """Return the parts for one block. Raises InvalidRequest, naming `path`, for blocks that chat cannot carry."""
    parts: list[ContentPart]
    match block["type"]:
        case "text":
            return [to_text_part(block, path, scope)]
        case "input_audio" | "video_url":
            return [cast(ContentPart, block)]
        case "image":
            parts = [_to_image(block, path, scope)]
        case "document":
            parts = _to_document(block, path, scope)
        case "search_result":
            _note_citations(block, path, scope)
            header = _text(_header("Search result", block["title"], "Source", block["source"]))
            inner = f"{path}.content"
            parts = [header, *(to_text_part(text, f"{inner}.{i}", scope) for i, text in enumerate(block["content"]))]
        case "tool_reference":
            parts = [_text(f"[tool available: {scope.names.to_chat(block['tool_name'])}]")]
        case "browser_state":
            parts = [_text(_to_tab_list(block))]
        case "container_upload":
            parts = [_text(f"[file {block['file_id']} in the container]")]
            scope.note("changed", path, "this upstream has no containers; the model sees only the file's id")
        case _:
            raise InvalidRequest(f"{path}.type: a block of type {block['type']!r} cannot stand here")
    scope.mark_cached(parts[-1], block, path)
    return parts


def to_plain_result(block: ToolResultBlockParam) -> ToolMessage | None:
    """The common case at a third of the cost: one text, nothing to mark. Claude Code spells out that it is no error."""
    if len(block) != 3 and (len(block) != 4 or block.get("is_error") is not False):
        return None
    content = block.get("content")
    if not isinstance(content, str):
        if not content or len(content) != 1 or content[0]["type"] != "text" or len(content[0]) != 2:
            return None
        content = content[0]["text"]
    return {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content}


def to_tool_message(
    block: ToolResultBlockParam, path: str, attachments: list[ContentPart], scope: Scope
) -> ToolMessage:
    """A tool's result. Media that the upstream does not take in it are added to `attachments`, for the user message."""
    content = _to_result(block, path, attachments, scope)
    if block.get("is_error"):
        content = _mark_error(content)
    if block.get("cache_control") and content:
        parts: list[ContentPart] = [_text(content)] if isinstance(content, str) else content
        scope.mark_cached(last_text(parts) or parts[-1], block, path)
        content = to_content(parts)
    return {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content}


def to_content(parts: list[ContentPart]) -> Content:
    """The shortest form that says the same: a lone text without marks is a string, which every upstream takes."""
    if len(parts) == 1:
        part = parts[0]
        if part["type"] == "text" and len(part) == 2:
            return part["text"]
    return parts


def last_text(parts: list[ContentPart]) -> TextPart | None:
    for part in reversed(parts):
        if part["type"] == "text":
            return part
    return None


def _text(text: str) -> TextPart:
    return {"type": "text", "text": text}


def _to_image(block: ImageBlockParam, path: str, scope: Scope) -> ImagePart:
    source = block["source"]
    if source["type"] == "file":
        raise InvalidRequest(f"{path}.source: {NO_FILES}")
    url = source["url"] if source["type"] == "url" else f"data:{source['media_type']};base64,{source['data']}"
    part: ImagePart = {"type": "image_url", "image_url": {"url": url}}
    if "detail" in block:
        part["image_url"]["detail"] = block["detail"]
    if block.get("transformations"):
        scope.note("dropped", f"{path}.transformations", "the upstream decides itself how it scales images")
    return part


def _to_document(block: DocumentBlockParam, path: str, scope: Scope) -> list[ContentPart]:
    _note_citations(block, path, scope)
    source = block["source"]
    if source["type"] == "file":
        raise InvalidRequest(f"{path}.source: {NO_FILES}")
    title, context = block.get("title"), block.get("context")
    header = _header("Document", title, "Context", context)
    match source["type"]:
        case "text":
            return [_text(f"{header}\n\n{source['data']}")]
        case "content":
            content = source["content"]
            if isinstance(content, str):
                return [_text(f"{header}\n\n{content}")]
            inner = f"{path}.source.content"
            return [
                _text(header),
                *(part for i, b in enumerate(content) for part in to_parts(b, f"{inner}.{i}", scope)),
            ]
        case "base64":
            data = f"data:{source['media_type']};base64,{source['data']}"
        case _:
            if not scope.target.openrouter:
                raise InvalidRequest(f"{path}.source: this upstream takes no document by URL; send it as base64")
            data = source["url"]
    name = title or "document"
    name = name if name.lower().endswith(".pdf") else f"{name}.pdf"
    file: FilePart = {"type": "file", "file": {"filename": name, "file_data": data}}
    return [_text(header), file] if context else [file]


def _note_citations(block: DocumentBlockParam | SearchResultBlockParam, path: str, scope: Scope) -> None:
    if (block.get("citations") or {}).get("enabled"):
        scope.note("dropped", f"{path}.citations", "chat completions cannot ask a model to cite its sources")


def _header(kind: str, title: str | None, label: str, detail: str | None) -> str:
    first = f"[{kind}: {title}]" if title else f"[{kind}]"
    return f"{first}\n[{label}: {detail}]" if detail else first


def _to_tab_list(block: BrowserStateBlockParam) -> str:
    lines = [
        f"- {tab.get('tab_id')}: {tab.get('title')} ({tab.get('url')}){' [active]' if tab.get('active') else ''}"
        for tab in block["tabs"]
    ]
    changes = [
        f"- {change.get('type')}: " + " ".join(str(value) for key, value in change.items() if key != "type")
        for change in block.get("state_changes") or ()
    ]
    return "\n".join(["[open tabs]", *lines, *(["[changes]", *changes] if changes else [])])


def _to_result(block: ToolResultBlockParam, path: str, attachments: list[ContentPart], scope: Scope) -> Content:
    content = block.get("content") or ""
    if isinstance(content, str):
        return content
    parts = [part for index, inner in enumerate(content) for part in to_parts(inner, f"{path}.content.{index}", scope)]
    if not scope.target.media_in_tool_results:
        kept: list[ContentPart] = []
        call_id = scope.to_call_id(block["tool_use_id"])
        for part in parts:
            if part["type"] == "text":
                kept.append(part)
                continue
            attachments += [_text(MEDIA_ORIGIN.format(call_id)), part]
            kept.append(_text(MEDIA_POINTER))
        parts = kept
    return to_content(parts) if parts else ""


def _mark_error(content: Content) -> Content:
    if isinstance(content, str):
        return f"{ERROR_MARK}\n{content}" if content else ERROR_MARK
    return [_text(ERROR_MARK), *content]
