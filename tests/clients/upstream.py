"""Scripted model server for driving real coding agents: chat completions, Responses and Messages, JSON and SSE.

Plays a list of steps ("write this file", "read it", "run two commands") and turns each step into a call of a tool that
the client declared, so the same script works for every client and through any gateway. The position in the script is
read from the conversation itself; the server keeps no state but a record of the requests.

    python3 upstream.py --port 8901 [--key SECRET] [--script steps.json] [--record requests.jsonl]

Every prompt that is to be played contains `FILE=/absolute/path`. Requests without it (titles, summaries, probes) get a
short text. `GET /_requests` returns the record, `POST /_script` replaces the script, `POST /_reset` empties the record.
"""

import argparse
import asyncio
import json
import re
import sys
import time

from aiohttp import web

USAGE = {"input": 1200, "cached": 1000, "output": 40, "reasoning": 8}
MASKED = {"authorization", "x-api-key", "api-key", "cookie"}
FINISHED = "FINISHED"

# A step is one model turn: a list of actions, or a list holding one ("text", words). Actions: write, edit, read, shell.
DEFAULT_SCRIPT = [
    [["think", "Look at the folder first."], ["shell", "pwd"]],
    [["text", "Creating the file."], ["write", "$FILE", "hi\n"]],
    [["read", "$FILE"]],
    [["think", "Now the edit."], ["edit", "$FILE", "hi", "hi there"]],
    [["shell", "cat $FILE"]],
    [["shell", "echo one"], ["shell", "echo two"]],
    [["write", "$FILE.second", 'line "quoted" \\ back\u00e9\n']],
    [["shell", "ls -l $FILE $FILE.second"]],
    [["shell", "exit 3"]],
    [["text", FINISHED]],
]


# ---------------------------------------------------------------- what the client declared


class Tool:
    """One declared tool in a form common to the three dialects."""

    def __init__(self, name, schema=None, grammar=False, namespace=None, description=""):
        self.name, self.schema, self.grammar, self.namespace = name, schema or {}, grammar, namespace
        self.javascript = (
            name.endswith("exec") and "JavaScript" in description
        )  # Codex' code mode: other tools are reached from a script


def tools_of(kind, body):
    """Return the tools that a model could call, by name."""
    declared = list(body.get("tools") or [])
    for item in body.get("input") if kind == "responses" and isinstance(body.get("input"), list) else []:
        if item.get("type") in ("additional_tools", "tool_search_output"):
            declared += item.get("tools") or []
    found = {}
    for tool in declared:
        namespace = tool["name"] if tool.get("type") == "namespace" else None
        for one in tool.get("tools") or [] if namespace else [tool]:
            inner = one.get("function") or one.get("custom") or one
            if inner.get("name"):  # hosted tools have none
                schema = inner.get("parameters") or inner.get("input_schema")
                grammar = one.get("type") == "custom" and schema is None
                found.setdefault(
                    inner["name"], Tool(inner["name"], schema, grammar, namespace, inner.get("description") or "")
                )
    return found


SHELLS = (
    "exec_command",
    "shell_command",
    "shell",
    "local_shell",
    "bash",
    "Bash",
    "run_shell_command",
    "run_terminal_command",
    "execute_command",
    "run_commands",
    "developer__shell",
    "run_command",
    "terminal",
)
WRITERS = (
    "apply_patch",
    "write",
    "write_file",
    "Write",
    "write_to_file",
    "create_file",
    "editor",
    "developer__write",
    "write_new_file",
)
READERS = ("read", "read_file", "Read", "view", "view_file", "read_files", "developer__read")
EDITORS = (
    "apply_patch",
    "edit",
    "Edit",
    "replace",
    "edit_file",
    "replace_in_file",
    "str_replace",
    "editor",
    "developer__edit",
)


def first(tools, names):
    for name in names:
        if name in tools:
            return tools[name]
    for name in names:  # names that a gateway or client prefixed
        for tool in tools.values():
            if re.search(r"(^|[_.])%s$" % re.escape(name), tool.name):
                return tool
    return None


def fill(schema, values):
    """Build arguments for a JSON schema from role -> value; required properties without a role get a plain value."""
    properties, required = schema.get("properties") or {}, set(schema.get("required") or [])
    arguments = {}
    for name, spec in properties.items():
        key = name.lower().replace("_", "")
        for roles, value in values.items():
            if key in roles.split():
                arguments[name] = shaped(key, spec, value)
                break
        else:
            if name in required:
                arguments[name] = plain(spec)
    return arguments


def shaped(key, spec, value):
    """Wrap a text where the schema wants a list: of words (`command`), of commands or paths (plural), of objects."""
    kinds = [one.get("type") for one in [spec, *(spec.get("anyOf") or [])]]
    kinds = [kind for one in kinds for kind in (one if isinstance(one, list) else [one])]
    if "array" not in kinds or "string" in kinds:
        return value
    items = spec.get("items") or next((one["items"] for one in spec.get("anyOf") or [] if "items" in one), {})
    if items.get("type") == "object":
        return [fill(items, {PATHS: value, COMMANDS: value})]
    return ["bash", "-lc", value] if key == "command" else [value]


def plain(spec):
    if "enum" in spec:
        return spec["enum"][0]
    if "default" in spec:
        return spec["default"]
    kind = spec.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    return {"string": "scripted step", "boolean": False, "integer": 1, "number": 1, "array": [], "object": {}}.get(
        kind, "scripted step"
    )


PATHS = "path filepath file absolutepath targetfile filename"
COMMANDS = "command cmd commands script"


def call_for(action, tools):
    """Return (tool, arguments or grammar input) for an action, or None where no declared tool can do it."""
    verb, *rest = action
    for tool in tools.values():
        if tool.javascript:
            source = javascript(verb, rest)
            return tool, source if tool.grammar else fill(tool.schema, {"input code script source": source})
    if verb == "shell":
        return shell(rest[0], tools)
    if verb == "read":
        tool = first(tools, READERS)
        return (
            (tool, fill(tool.schema, {PATHS + " filepaths paths files": rest[0]}))
            if tool
            else shell("cat " + rest[0], tools)
        )
    if verb == "write":
        path, content = rest
        tool = first(tools, WRITERS)
        if tool is None:
            return shell("cat > %s <<'END'\n%sEND" % (path, content), tools)
        if "apply_patch" in tool.name:
            return patched(tool, patch_of(verb, rest))
        return tool, fill(tool.schema, {PATHS: path, "content contents text filetext newtext": content})
    if verb == "edit":
        path, old, new = rest
        tool = first(tools, EDITORS)
        if tool is None:
            return shell("sed -i 's/^%s$/%s/' %s" % (old, new, path), tools)
        if "apply_patch" in tool.name:
            return patched(tool, patch_of(verb, rest))
        return tool, fill(
            tool.schema,
            {
                PATHS: path,
                "oldstring oldstr oldtext search before": old,
                "newstring newstr newtext replace after content": new,
                "diff": "------- SEARCH\n%s\n=======\n%s\n+++++++ REPLACE\n" % (old, new),
            },
        )
    raise ValueError("unknown action %r" % (verb,))


def javascript(verb, rest):
    """Return a script for Codex' code mode that does the action with the tools it nests."""
    if verb in ("write", "edit"):
        lines = patch_of(verb, rest)
        return "text(await tools.apply_patch(%s));" % json.dumps(lines)
    command = rest[0] if verb == "shell" else "cat " + rest[0]
    return "const result = await tools.exec_command({cmd: %s});\ntext(result.output);" % json.dumps(command)


def patch_of(verb, rest):
    if verb == "write":
        path, content = rest
        return "*** Begin Patch\n*** Add File: %s\n%s*** End Patch" % (
            path,
            "".join("+%s\n" % line for line in content.splitlines()),
        )
    path, old, new = rest
    return "*** Begin Patch\n*** Update File: %s\n@@\n-%s\n+%s\n*** End Patch" % (path, old, new)


def shell(command, tools):
    tool = first(tools, SHELLS)
    return (tool, fill(tool.schema, {COMMANDS: command})) if tool else None


def patched(tool, patch):
    return tool, patch if tool.grammar else fill(tool.schema, {"input patch patchtext": patch})


# ---------------------------------------------------------------- where the conversation stands


def text_of(content):
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text") or "" for part in content or [] if isinstance(part, dict))


def messages_of(kind, body):
    if kind != "responses":
        return body.get("messages") or []
    given = body.get("input")
    return (
        [{"role": "user", "content": given}]
        if isinstance(given, str)
        else [item for item in given or [] if item.get("role")]
    )


def target_of(kind, body):
    """Return the path named in the last user text that names one."""
    for message in reversed(messages_of(kind, body)):
        if message.get("role") == "user":
            hit = re.findall(r"FILE=([^\s\"'<>`\\]+)", text_of(message.get("content")))
            if hit:
                return hit[-1].rstrip(".,;")
    return None


def rounds_of(kind, body):
    """Count the model's tool-calling turns so far: by our own ids where they survived, else by turns."""
    ids, turns = [], 0
    if kind == "responses":
        after_output = True
        for item in body.get("input") if isinstance(body.get("input"), list) else []:
            kind_of = item.get("type") or ""
            if kind_of.endswith(("_call_output", "_output")):
                after_output = True
            elif kind_of.endswith("_call"):
                turns += after_output
                after_output = False
                ids.append(item.get("call_id") or "")
    else:
        for message in body.get("messages") or []:
            if message.get("role") != "assistant":
                continue
            if kind == "chat":
                calls = [call.get("id") or "" for call in message.get("tool_calls") or []]
            else:
                calls = [
                    block.get("id") or ""
                    for block in message.get("content") or []
                    if isinstance(block, dict) and block.get("type") == "tool_use"
                ]
            turns += bool(calls)
            ids += calls
    marks = [int(mark) for call in ids for mark in re.findall(r"step(\d+)x\d+", call)]
    return max(marks) + 1 if marks else turns


def turn(kind, body, script):
    """Return the model's turn: a list of ("think", text), ("text", text), ("call", id, Tool, arguments or input)."""
    path = target_of(kind, body)
    tools = tools_of(kind, body)
    if path is None:
        return [("text", "Scratch task")]
    if not tools:
        return [("text", edit_in_text(kind, body, path))]
    step = rounds_of(kind, body)
    while step < len(script):
        out, number = [], 0
        for action in json.loads(json.dumps(script[step]).replace("$FILE", path)):
            if action[0] in ("think", "text"):
                out.append((action[0], action[1]))
                continue
            chosen = call_for(action, tools)
            if chosen is not None:
                out.append(("call", "call_step%dx%d" % (step, number), *chosen))
                number += 1
        if number or step == len(script) - 1 or all(action[0] in ("think", "text") for action in script[step]):
            return out
        step += 1  # nothing here that this client has a tool for
    return [("text", FINISHED)]


def edit_in_text(kind, body, path):
    """Answer of a client without tools (aider): its whole-file or SEARCH/REPLACE form, as its prompt explains."""
    said = json.dumps(body)
    name = path.rsplit("/", 1)[-1]
    if "SEARCH" in said and "REPLACE" in said:
        return "Creating the file.\n\n%s\n```\n<<<<<<< SEARCH\n=======\nhi there\n>>>>>>> REPLACE\n```\n\n%s" % (
            name,
            FINISHED,
        )
    if "```" in said:
        return "Creating the file.\n\n%s\n```\nhi there\n```\n\n%s" % (name, FINISHED)
    return FINISHED


# ---------------------------------------------------------------- chat completions


def pieces(text, size=7):
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


def dumped(arguments):
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def chat_usage():
    u = USAGE
    return {
        "prompt_tokens": u["input"],
        "completion_tokens": u["output"],
        "total_tokens": u["input"] + u["output"],
        "prompt_tokens_details": {"cached_tokens": u["cached"]},
        "completion_tokens_details": {"reasoning_tokens": u["reasoning"]},
    }


def chat_call(call):
    _, call_id, tool, arguments = call
    if tool.grammar:
        return {"id": call_id, "type": "custom", "custom": {"name": tool.name, "input": arguments}}
    return {"id": call_id, "type": "function", "function": {"name": tool.name, "arguments": dumped(arguments)}}


def chat_json(body, said):
    calls = [chat_call(part) for part in said if part[0] == "call"]
    message = {"role": "assistant", "content": "".join(part[1] for part in said if part[0] == "text") or None}
    thoughts = "".join(part[1] for part in said if part[0] == "think")
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": chat_usage(),
    }


def chat_chunks(body, said):
    """Return the chunks of a stream as objects, without the final [DONE]."""

    def chunk(delta, finish=None):
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": body.get("model"),
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }

    out, index = [chunk({"role": "assistant", "content": ""})], -1
    for part in said:
        if part[0] == "think":
            out += [chunk({"reasoning_content": piece}) for piece in pieces(part[1])]
        elif part[0] == "text":
            out += [chunk({"content": piece}) for piece in pieces(part[1])]
        else:
            index += 1
            call = chat_call(part)
            kind, key = call["type"], "input" if call["type"] == "custom" else "arguments"
            out.append(chunk({"tool_calls": [{**call, "index": index, kind: {"name": call[kind]["name"], key: ""}}]}))
            out += [chunk({"tool_calls": [{"index": index, kind: {key: piece}}]}) for piece in pieces(call[kind][key])]
    out.append(chunk({}, "tool_calls" if index >= 0 else "stop"))
    if (body.get("stream_options") or {}).get("include_usage"):
        out.append({**chunk({}), "choices": [], "usage": chat_usage()})
    return out


# ---------------------------------------------------------------- responses


def responses_usage():
    u = USAGE
    return {
        "input_tokens": u["input"],
        "input_tokens_details": {"cached_tokens": u["cached"]},
        "output_tokens": u["output"],
        "output_tokens_details": {"reasoning_tokens": u["reasoning"]},
        "total_tokens": u["input"] + u["output"],
    }


def responses_items(body, said, stamp):
    """Return the finished output items."""
    items = []
    for number, part in enumerate(said):
        tail = "%s_%d" % (stamp, number)
        if part[0] == "think":
            items.append(
                {
                    "id": "rs_" + tail,
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": part[1]}],
                    "encrypted_content": "sealed-" + tail,
                }
            )
        elif part[0] == "text":
            items.append(
                {
                    "id": "msg_" + tail,
                    "type": "message",
                    "status": "completed",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": part[1], "annotations": [], "logprobs": []}],
                }
            )
        else:
            _, call_id, tool, arguments = part
            common = {"status": "completed", "call_id": call_id, "name": tool.name}
            if tool.grammar:
                items.append({"id": "ctc_" + tail, "type": "custom_tool_call", **common, "input": arguments})
            else:
                items.append({"id": "fc_" + tail, "type": "function_call", **common, "arguments": dumped(arguments)})
            if tool.namespace:
                items[-1]["namespace"] = tool.namespace
    return items


def responses_json(body, items, stamp, status="completed"):
    return {
        "id": "resp_" + stamp,
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": body.get("model"),
        "output": items,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": responses_usage() if status == "completed" else None,
        "user": None,
    }


def responses_events(body, items, stamp):
    """Return the whole event sequence for finished items."""
    out = []

    def add(kind, **fields):
        out.append({"type": "response." + kind, "sequence_number": len(out), **fields})

    add("created", response=responses_json(body, [], stamp, "in_progress"))
    add("in_progress", response=responses_json(body, [], stamp, "in_progress"))
    for at, item in enumerate(items):
        where, kind = {"item_id": item["id"], "output_index": at}, item["type"]
        if kind == "reasoning":
            add("output_item.added", output_index=at, item={**item, "summary": [], "encrypted_content": ""})
            text = item["summary"][0]["text"]
            add("reasoning_summary_part.added", **where, summary_index=0, part={"type": "summary_text", "text": ""})
            for piece in pieces(text):
                add("reasoning_summary_text.delta", **where, summary_index=0, delta=piece)
            add("reasoning_summary_text.done", **where, summary_index=0, text=text)
            add("reasoning_summary_part.done", **where, summary_index=0, part=item["summary"][0])
        elif kind == "message":
            add("output_item.added", output_index=at, item={**item, "status": "in_progress", "content": []})
            part = item["content"][0]
            add("content_part.added", **where, content_index=0, part={**part, "text": ""})
            for piece in pieces(part["text"]):
                add("output_text.delta", **where, content_index=0, delta=piece, logprobs=[])
            add("output_text.done", **where, content_index=0, text=part["text"], logprobs=[])
            add("content_part.done", **where, content_index=0, part=part)
        else:
            field, name = (
                ("input", "custom_tool_call_input")
                if kind == "custom_tool_call"
                else ("arguments", "function_call_arguments")
            )
            add("output_item.added", output_index=at, item={**item, "status": "in_progress", field: ""})
            for piece in pieces(item[field]):
                add(name + ".delta", **where, delta=piece)
            add(name + ".done", **where, **{field: item[field]})
        add("output_item.done", output_index=at, item=item)
    add("completed", response=responses_json(body, items, stamp))
    return out


# ---------------------------------------------------------------- messages


def message_json(body, said):
    content = []
    for part in said:
        if part[0] == "think":
            content.append({"type": "thinking", "thinking": part[1], "signature": "sealed"})
        elif part[0] == "text":
            content.append({"type": "text", "text": part[1]})
        else:
            arguments = part[3] if isinstance(part[3], dict) else {"input": part[3]}
            content.append({"type": "tool_use", "id": part[1], "name": part[2].name, "input": arguments})
    called = any(part[0] == "call" for part in said)
    u = USAGE
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": content,
        "stop_reason": "tool_use" if called else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": u["input"] - u["cached"],
            "cache_read_input_tokens": u["cached"],
            "cache_creation_input_tokens": 0,
            "output_tokens": u["output"],
        },
    }


def message_events(body, said):
    whole = message_json(body, said)
    out = [
        {
            "type": "message_start",
            "message": {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}},
        }
    ]
    for at, block in enumerate(whole["content"]):
        kind = block["type"]
        empty = {
            "thinking": {"type": "thinking", "thinking": "", "signature": ""},
            "text": {"type": "text", "text": ""},
        }.get(kind, {**block, "input": {}})
        out.append({"type": "content_block_start", "index": at, "content_block": empty})
        if kind == "tool_use":
            deltas = [
                {"type": "input_json_delta", "partial_json": piece} for piece in pieces(json.dumps(block["input"]))
            ]
        elif kind == "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        else:
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])] + [
                {"type": "signature_delta", "signature": "sealed"}
            ]
        out += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
        out.append({"type": "content_block_stop", "index": at})
    out.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
            "usage": {"output_tokens": whole["usage"]["output_tokens"]},
        }
    )
    return [*out, {"type": "message_stop"}]


# ---------------------------------------------------------------- server


def error_body(kind, status, message, code=None):
    if kind == "messages":
        return {
            "type": "error",
            "error": {
                "type": {401: "authentication_error", 429: "rate_limit_error"}.get(status, "api_error"),
                "message": message,
            },
        }
    return {
        "error": {
            "message": message,
            "type": {401: "invalid_request_error", 429: "rate_limit_error"}.get(status, "server_error"),
            "param": None,
            "code": code,
        }
    }


class Upstream:
    """The server. Subclass and override `answer` to play faults."""

    def __init__(self, script=None, key=None, record=None, models=("scripted-model",)):
        self.script, self.key, self.record, self.models = script or DEFAULT_SCRIPT, key, record, models
        self.requests, self.count = [], 0

    def app(self):
        app = web.Application(client_max_size=64 * 1024 * 1024)
        for prefix in ("", "/v1", "/api/v1"):
            app.router.add_get(prefix + "/models", self.list_models)
            app.router.add_get(prefix + "/models/{model:.*}", self.list_models)
            app.router.add_post(prefix + "/chat/completions", self.serve)
            app.router.add_post(prefix + "/responses", self.serve)
            app.router.add_get(prefix + "/responses", self.refuse_websocket)
            app.router.add_post(prefix + "/messages", self.serve)
        app.router.add_get("/_requests", self.give_requests)
        app.router.add_post("/_script", self.take_script)
        app.router.add_post("/_reset", self.reset)
        app.router.add_route("*", "/{rest:.*}", self.unknown)
        return app

    async def note(self, request):
        raw = await request.read()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = raw.decode("utf-8", "replace")
        headers = [[name, "MASKED" if name.lower() in MASKED else value] for name, value in request.headers.items()]
        entry = {
            "t": round(time.time(), 3),
            "method": request.method,
            "path": request.path,
            "query": request.query_string,
            "headers": headers,
            "body": body,
        }
        self.requests.append(entry)
        if self.record:
            with open(self.record, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        return body

    def refused(self, request):
        given = (
            request.headers.get("x-api-key")
            or request.headers.get("api-key")
            or request.headers.get("authorization", "")
        )
        return self.key and given.removeprefix("Bearer ") != self.key

    async def list_models(self, request):
        await self.note(request)
        if self.refused(request):
            return web.json_response(
                error_body("chat", 401, "Incorrect API key provided.", "invalid_api_key"), status=401
            )
        data = [
            {
                "id": name,
                "object": "model",
                "created": 1767225600,
                "owned_by": "scripted",
                "context_length": 200000,
                "type": "model",
                "display_name": name,
                "created_at": "2026-01-01T00:00:00Z",
            }
            for name in self.models
        ]
        catalog = [
            {
                "slug": name,
                "display_name": name,
                "supported_reasoning_levels": [{"effort": "low", "description": "low"}],
                "shell_type": "unified_exec",
                "visibility": "list",
                "supported_in_api": True,
                "priority": 1,
                "support_verbosity": False,
                "truncation_policy": {"mode": "tokens", "limit": 10000},
                "experimental_supported_tools": [],
                "base_instructions": "Use the tools.",
                "context_window": 200000,
            }
            for name in self.models
        ]
        return web.json_response(
            {
                "object": "list",
                "data": data,
                "has_more": False,
                "first_id": self.models[0],
                "last_id": self.models[-1],
                "models": catalog,
            }
        )

    async def refuse_websocket(self, request):
        await self.note(request)
        return web.json_response(
            {
                "error": {
                    "message": "WebSocket is not offered here.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "websocket_not_supported",
                }
            },
            status=426,
        )

    async def unknown(self, request):
        await self.note(request)
        return web.json_response(
            {
                "error": {
                    "message": "Unknown request URL: %s %s." % (request.method, request.path),
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "unknown_url",
                }
            },
            status=404,
        )

    async def serve(self, request):
        body = await self.note(request)
        kind = {"completions": "chat", "responses": "responses", "messages": "messages"}[
            request.path.rsplit("/", 1)[-1]
        ]
        if self.refused(request):
            return web.json_response(
                error_body(kind, 401, "Incorrect API key provided.", "invalid_api_key"), status=401
            )
        if not isinstance(body, dict):
            return web.json_response(error_body(kind, 400, "The body is not a JSON object."), status=400)
        self.count += 1
        return await self.answer(request, kind, body)

    async def answer(self, request, kind, body):
        frames = self.frames(kind, body)
        if not body.get("stream"):
            return web.json_response(self.whole(kind, body))
        return await self.stream(request, frames)

    def said(self, kind, body):
        return turn(kind, body, self.script)

    def whole(self, kind, body):
        said = self.said(kind, body)
        if kind == "chat":
            return chat_json(body, said)
        if kind == "messages":
            return message_json(body, said)
        stamp = "%06d" % self.count
        return responses_json(body, responses_items(body, said, stamp), stamp)

    def frames(self, kind, body):
        """Return the stream as a list of SSE frames (text)."""
        said = self.said(kind, body)
        if kind == "chat":
            return ["data: %s\n\n" % json.dumps(chunk) for chunk in chat_chunks(body, said)] + ["data: [DONE]\n\n"]
        if kind == "messages":
            events = message_events(body, said)
        else:
            stamp = "%06d" % self.count
            events = responses_events(body, responses_items(body, said, stamp), stamp)
        return ["event: %s\ndata: %s\n\n" % (event["type"], json.dumps(event)) for event in events]

    async def stream(self, request, frames, pause=0.0):
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
        await response.prepare(request)
        for frame in frames:
            await response.write(frame.encode())
            if pause:
                await asyncio.sleep(pause)
        await response.write_eof()
        return response

    async def give_requests(self, request):
        return web.json_response(self.requests)

    async def take_script(self, request):
        self.script = await request.json() or DEFAULT_SCRIPT
        return web.json_response({"steps": len(self.script)})

    async def reset(self, request):
        self.requests.clear()
        return web.json_response({})


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8901)
    parser.add_argument("--key", help="refuse requests that do not carry this key")
    parser.add_argument("--script", help="JSON file with a list of steps")
    parser.add_argument("--record", help="append each request to this file, one JSON object a line")
    parser.add_argument("--model", action="append", help="model ids to list (repeatable)")
    options = parser.parse_args(argv)
    script = json.load(open(options.script, encoding="utf-8")) if options.script else None
    upstream = Upstream(script, options.key, options.record, tuple(options.model or ["scripted-model"]))
    web.run_app(
        upstream.app(),
        host=options.host,
        port=options.port,
        print=lambda *words: print(*words, file=sys.stderr),
        access_log=None,
    )


if __name__ == "__main__":
    main()
