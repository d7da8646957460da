"""Function schemas for the tools that Claude knows by heart: bash, text editor, memory, computer.

Anthropic's API takes these without a schema, by type and version; any other model needs one. Names and parameters are
those of Anthropic's documentation (2026-08), so that the client's own code can run the calls unchanged.
"""

from collections.abc import Mapping
from typing import Any

COORDINATE = {
    "type": "array",
    "items": {"type": "integer"},
    "minItems": 2,
    "maxItems": 2,
    "description": "[x, y]: pixels from the left edge and from the top edge.",
}

BASH = {
    "type": "object",
    "properties": {
        "command": {"type": "string", "description": "The bash command to run. Required unless restarting."},
        "restart": {"type": "boolean", "description": "True restarts the shell; no command is then needed."},
    },
}

EDITOR_PROPERTIES: dict[str, Any] = {
    "path": {"type": "string", "description": "Absolute path to a file or directory."},
    "file_text": {"type": "string", "description": "For `create`: the content of the new file."},
    "old_str": {"type": "string", "description": "For `str_replace`: the text to replace; must occur exactly once."},
    "new_str": {"type": "string", "description": "For `str_replace`: the replacement; absent means remove."},
    "insert_line": {
        "type": "integer",
        "description": "For `insert`: the line after which to insert; 0 is the beginning of the file.",
    },
    "view_range": {
        "type": "array",
        "items": {"type": "integer"},
        "minItems": 2,
        "maxItems": 2,
        "description": "For `view` of a file: [first line, last line], counted from 1; -1 is the end of the file.",
    },
}

INSERT_TEXT = {"type": "string", "description": "For `insert`: the text to insert."}

MEMORY = {
    "type": "object",
    "properties": {
        "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert", "delete", "rename"]},
        "path": {
            "type": "string",
            "description": "The file or directory, under /memories. Required by all commands but `rename`.",
        },
        "view_range": EDITOR_PROPERTIES["view_range"],
        "file_text": {"type": "string", "description": "For `create`: the content of the file."},
        "old_str": {"type": "string", "description": "For `str_replace`: the text to replace."},
        "new_str": {"type": "string", "description": "For `str_replace`: the replacement."},
        "insert_line": {"type": "integer", "description": "For `insert`: the line at which to insert."},
        "insert_text": INSERT_TEXT,
        "old_path": {"type": "string", "description": "For `rename`: the present path."},
        "new_path": {"type": "string", "description": "For `rename`: the new path."},
    },
    "required": ["command"],
}

COMPUTER_ACTIONS_2024 = (
    "key",
    "type",
    "mouse_move",
    "left_click",
    "left_click_drag",
    "right_click",
    "middle_click",
    "double_click",
    "screenshot",
    "cursor_position",
)
COMPUTER_ACTIONS_2025 = (
    *COMPUTER_ACTIONS_2024,
    "left_mouse_down",
    "left_mouse_up",
    "scroll",
    "hold_key",
    "wait",
    "triple_click",
)

BASH_TEXT = "Run commands in a persistent bash session on the user's machine."
MEMORY_TEXT = "Read and keep notes in files under /memories, which last from one conversation to the next."


def to_client_function(tool: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Description and input schema of a typed client tool; None for a type that is not one."""
    family = tool["type"].rpartition("_")[0]
    match family:
        case "bash":
            return BASH_TEXT, BASH
        case "text_editor":
            return _editor(tool)
        case "memory":
            return MEMORY_TEXT, MEMORY
        case "computer":
            return _computer(tool)
        case _:
            return None


def _editor(tool: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The first two versions can undo and insert `new_str`; the later ones cannot undo and insert `insert_text`."""
    is_later = tool["type"] >= "text_editor_20250429"
    commands = ["view", "create", "str_replace", "insert", *(() if is_later else ("undo_edit",))]
    properties: dict[str, Any] = {
        "command": {"type": "string", "enum": commands, "description": "What to do."},
        **EDITOR_PROPERTIES,
    }
    if is_later:
        properties["insert_text"] = INSERT_TEXT
    text = "View, create and edit files. The state lasts from one call to the next."
    if tool.get("max_characters"):
        text += f" A view shows at most {tool['max_characters']} characters."
    return text, {"type": "object", "properties": properties, "required": ["command", "path"]}


def _computer(tool: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    is_first = tool["type"] == "computer_20241022"
    actions = list(COMPUTER_ACTIONS_2024 if is_first else COMPUTER_ACTIONS_2025)
    properties: dict[str, Any] = {
        "action": {"type": "string", "enum": actions, "description": "What to do."},
        "coordinate": COORDINATE,
        "text": {"type": "string", "description": "The text to type, or the key or key combination to press or hold."},
    }
    if is_first:
        properties["coordinate"] = {**COORDINATE, "description": "[x, y] in pixels; the end point of a drag."}
    else:
        properties["start_coordinate"] = {**COORDINATE, "description": "For `left_click_drag`: where the drag begins."}
        properties["scroll_direction"] = {"type": "string", "enum": ["up", "down", "left", "right"]}
        properties["scroll_amount"] = {"type": "integer", "description": "For `scroll`: clicks of the wheel."}
        properties["duration"] = {"type": "number", "description": "For `wait` and `hold_key`: seconds."}
    if tool.get("enable_zoom"):
        actions.append("zoom")
        properties["region"] = {
            "type": "array",
            "items": {"type": "integer"},
            "minItems": 4,
            "maxItems": 4,
            "description": "For `zoom`: [x0, y0, x1, y1], the region to show enlarged.",
        }
    size = f"{tool['display_width_px']} × {tool['display_height_px']} pixels"
    text = f"Use the mouse and keyboard of a computer, and take screenshots of its screen of {size}."
    return text, {"type": "object", "properties": properties, "required": ["action"]}
