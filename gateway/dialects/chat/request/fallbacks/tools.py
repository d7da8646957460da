"""Rewrites of the tools that a request offers, and of the choice among them.

As in `messages`, a rewrite returns the body that it was given when there is nothing to change.
"""

from typing import Any

from gateway.dialects.chat.request.fallbacks.fields import OFF_VALUES
from gateway.dialects.chat.request.fallbacks.messages import Body, Rewritten, differs, without
from gateway.messages.notes import Note
from gateway.upstream.vendors.adaptation import Adaptation

EFFORT_FIELD = frozenset({"reasoning_effort"})
CHOICE_FIELDS = frozenset({"parallel_tool_calls", "tool_choice", "tools"})


def lone_tool(_: Adaptation, body: Body) -> Rewritten:
    """Offer the tool that must be called as the only one, and demand a call."""
    alone = _chosen_alone(body)
    if alone is None:
        return body, ()
    note = Note("emulated", "tool_choice", "the tool that must be called is the only one offered")
    return {**body, "tools": alone, "tool_choice": "required"}, (note,)


def auto_choice(adaptation: Adaptation, body: Body) -> Rewritten:
    """Leave the choice to the model where the upstream cannot force a call, or not in the way that is named."""
    choice = body.get("tool_choice")
    if choice in (None, "none") or (adaptation.names and choice not in adaptation.names):
        return body, ()
    rest = without(body, frozenset({"tool_choice"}))
    if choice == "auto":  # is the default
        return rest, ()
    alone = _chosen_alone(body)
    note = Note("dropped", "tool_choice", "this upstream cannot make the model call a tool")
    return rest if alone is None else {**rest, "tools": alone}, (note,)


def forced_without_thinking(adaptation: Adaptation, body: Body) -> Rewritten:
    """Turn thinking off where a call is forced, for models that think by default and then take no such choice.

    `names`: the field that turns it off. It stays on where the client asked for it; the choice is then given up.
    """
    field = adaptation.names[0]
    if body.get("tool_choice") in (None, "auto", "none") or field in body:
        return body, ()
    key, value = OFF_VALUES[field][0]
    note = Note("changed", "thinking", "this model can be made to call a tool only while it does not think")
    return {**without(body, EFFORT_FIELD), field: {key: value} if key else value}, (note,)


def hide_tools(_: Adaptation, body: Body) -> Rewritten:
    """Offer no tools where none may be called, for servers that then send a call's markup as text.

    Not once the conversation holds calls: chat templates describe tools and calls together.
    """
    has_calls = any(message["role"] == "tool" or message.get("tool_calls") for message in body["messages"])
    if body.get("tool_choice") != "none" or has_calls:
        return body, ()
    return without(body, CHOICE_FIELDS), ()


def declare_tools(_: Adaptation, body: Body) -> Rewritten:
    """Declare the tools that earlier turns called, where the request offers none, and let none be called."""
    called = [call["function"]["name"] for message in body["messages"] for call in message.get("tool_calls") or ()]
    if body.get("tools") or not called:
        return body, ()
    functions = [{"name": name, "parameters": {"type": "object", "properties": {}}} for name in dict.fromkeys(called)]
    tools = [{"type": "function", "function": function} for function in functions]
    return {**body, "tools": tools, "tool_choice": "none"}, ()


def strict_calls(_: Adaptation, body: Body) -> Rewritten:
    """Mark tools as strict where a call is forced: vLLM and SGLang then hold arguments to the schema, else to JSON."""
    if body.get("tool_choice") in (None, "auto", "none"):
        return body, ()
    tools = [_strict(tool) for tool in body.get("tools") or ()]
    return ({**body, "tools": tools}, ()) if differs(tools, body.get("tools") or ()) else (body, ())


def cut_descriptions(adaptation: Adaptation, body: Body) -> Rewritten:
    """Shorten the descriptions of tools to what the upstream takes."""
    tools = [_described(tool, adaptation.limit) for tool in body.get("tools") or ()]
    if not differs(tools, body.get("tools") or ()):
        return body, ()
    note = Note("changed", "tools", f"this upstream takes {adaptation.limit} characters of a tool's description")
    return {**body, "tools": tools}, (note,)


def _strict(tool: Any) -> Any:
    function = tool.get("function")
    return tool if function is None or "strict" in function else {**tool, "function": {**function, "strict": True}}


def _described(tool: Any, limit: int) -> Any:
    function = tool.get("function") or {}
    description = function.get("description") or ""
    if len(description) <= limit:
        return tool
    return {**tool, "function": {**function, "description": description[: limit - 1] + "…"}}


def _chosen_alone(body: Body) -> list[Any] | None:
    choice = body.get("tool_choice")
    name = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
    alone = [tool for tool in body.get("tools") or () if (tool.get("function") or {}).get("name") == name]
    return alone if name is not None and alone else None
