"""Actions of Anthropic's own tools as text: every kind of block that a Claude conversation may hold."""

from typing import Any

import pytest

from gateway.dialects.chat.request.transcript import to_transcript
from tests.support.conversions import KEYRING

DEEP: Any = "bottom"
for _ in range(500):
    DEEP = {"deeper": [DEEP]}

CASES = [
    pytest.param(
        {"type": "server_tool_use", "id": "s", "name": "web_fetch", "input": {"url": "https://a.example"}},
        '[web_fetch was called with {"url":"https://a.example"}]',
        id="a server tool's call",
    ),
    pytest.param(
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        "",
        id="a server tool's call that tells nothing",
    ),
    pytest.param(
        {"type": "mcp_tool_use", "id": "m", "name": "find", "server_name": "files", "input": {}},
        "[find of files was called with {}]",
        id="an MCP call",
    ),
    pytest.param(
        {"type": "mcp_tool_listing", "mcp_server_name": "files", "tools": [{"name": "find"}, {"name": "read"}]},
        "[tools of files: find, read]",
        id="an MCP server's tools",
    ),
    pytest.param(
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s",
            "content": [
                {"type": "web_search_result", "title": "A", "url": "https://a.example", "encrypted_content": "E"},
                {"type": "web_search_result", "title": "B", "url": "https://b.example", "encrypted_content": "E"},
            ],
        },
        "[web_search results]\n- A: https://a.example\n- B: https://b.example",
        id="search results",
    ),
    pytest.param(
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s",
            "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
        },
        '[web_search failed: {"type":"web_search_tool_result_error","error_code":"max_uses_exceeded"}]',
        id="a search that failed",
    ),
    pytest.param(
        {
            "type": "web_fetch_tool_result",
            "tool_use_id": "s",
            "content": {
                "type": "web_fetch_result",
                "url": "https://a.example",
                "content": {"type": "document", "source": {"type": "text", "data": "Cats purr."}},
            },
        },
        '[web_fetch result: {"type":"web_fetch_result","url":"https://a.example",'
        '"content":{"type":"document","source":{"type":"text","data":"Cats purr."}}}]',
        id="a page that was fetched",
    ),
    pytest.param(
        {
            "type": "web_fetch_tool_result",
            "tool_use_id": "s",
            "content": {"source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        },
        '[web_fetch result: {"source":{"type":"base64","media_type":"application/pdf"}}]',
        id="a PDF that was fetched, without its bytes",
    ),
    pytest.param(
        {
            "type": "bash_code_execution_tool_result",
            "tool_use_id": "s",
            "content": {"stdout": "4\n", "return_code": 0, "encrypted_stdout": "E"},
        },
        '[bash_code_execution result: {"stdout":"4\\n","return_code":0}]',
        id="code that was run",
    ),
    pytest.param(
        {"type": "mcp_tool_result", "tool_use_id": "m", "content": [{"type": "text", "text": "a"}, {"text": "b"}]},
        "[mcp result: a\nb]",
        id="an MCP result of texts",
    ),
    pytest.param(
        {"type": "mcp_tool_result", "tool_use_id": "m", "content": "no such file", "is_error": True},
        "[mcp failed: no such file]",
        id="an MCP call that failed",
    ),
    pytest.param({"type": "mcp_tool_result", "tool_use_id": "m"}, "[mcp result: ]", id="an MCP result without content"),
    pytest.param({"type": "container_upload", "file_id": "f"}, "[file f in the container]", id="a file in a container"),
    pytest.param({"type": "fallback", "from": {}, "to": {}}, "", id="a change of model has no text"),
]


@pytest.mark.parametrize(("block", "expected"), CASES)
def test_server_tool_block_becomes_text(block: dict[str, Any], expected: str) -> None:
    assert to_transcript(block, KEYRING) == expected


def test_a_result_nested_deeper_than_any_real_one_is_cut() -> None:
    told = to_transcript({"type": "advisor_tool_result", "tool_use_id": "s", "content": DEEP}, KEYRING)
    assert told.startswith('[advisor result: {"deeper":[{"deeper":')
    assert "…" in told
    assert len(told) < 500
