"""The members of Anthropic's computer and browser toolsets, each as a separate function.

One `tools` entry without a name represents the whole family. Its calls carry the member's bare name and a
`toolset_name`; upstream, where names are all there is, a member is called `<toolset>_<member>`. Members and parameters
follow the types of Anthropic's SDK 2.12 (2026-11).
"""

from collections.abc import Iterator, Mapping
from typing import Any

INTEGER = {"type": "integer"}
STRING = {"type": "string"}
NUMBER = {"type": "number"}
POINT = {"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2}
REGION = {"type": "array", "items": INTEGER, "minItems": 4, "maxItems": 4}
STRINGS = {"type": "array", "items": STRING}
DIRECTION = {"type": "string", "enum": ["up", "down", "left", "right"]}

AT_POINT = {
    "type": "object",
    "properties": {"type": {"const": "coordinate"}, "x": INTEGER, "y": INTEGER},
    "required": ["type", "x", "y"],
}
AT_ELEMENT = {
    "type": "object",
    "properties": {"type": {"const": "ref"}, "ref": STRING},
    "required": ["type", "ref"],
}
AT_EITHER = {"anyOf": [AT_POINT, AT_ELEMENT]}

MODIFIERS = {"type": "string", "description": 'Keys to hold meanwhile, as in "ctrl+shift".'}

# Member → what it does, its parameters; a name that ends in "?" is optional.
Member = tuple[str, Mapping[str, Any]]

COMPUTER: dict[str, Member] = {
    "key": ("Press a key or key combination.", {"text": STRING, "repeat?": INTEGER}),
    "hold_key": ("Hold a key or key combination for some seconds.", {"text": STRING, "duration": INTEGER}),
    "type": ("Type text on the keyboard.", {"text": STRING}),
    "cursor_position": ("Get the cursor's [x, y] position in pixels.", {}),
    "mouse_move": ("Move the cursor without clicking.", {"coordinate": POINT}),
    "left_mouse_down": ("Press the left button and hold it.", {}),
    "left_mouse_up": ("Release the left button.", {}),
    "left_click": (
        "Click the left button, by default where the cursor is.",
        {"coordinate?": POINT, "text?": MODIFIERS},
    ),
    "left_click_drag": (
        "Drag from `start_coordinate` to `coordinate`.",
        {"start_coordinate": POINT, "coordinate": POINT, "text?": MODIFIERS},
    ),
    "right_click": ("Click the right button.", {"coordinate?": POINT, "text?": MODIFIERS}),
    "middle_click": ("Click the middle button.", {"coordinate?": POINT, "text?": MODIFIERS}),
    "double_click": ("Double-click the left button.", {"coordinate?": POINT, "text?": MODIFIERS}),
    "triple_click": ("Triple-click the left button.", {"coordinate?": POINT, "text?": MODIFIERS}),
    "scroll": (
        "Turn the wheel by a number of clicks.",
        {"scroll_direction": DIRECTION, "scroll_amount": INTEGER, "coordinate?": POINT, "text?": MODIFIERS},
    ),
    "wait": ("Wait for some seconds.", {"duration": INTEGER}),
    "screenshot": ("Take a screenshot.", {}),
    "zoom": ("Take an enlarged screenshot of [x0, y0, x1, y1].", {"region": REGION}),
}

TAB = {"type": "string", "description": "The tab to act on; absent means the active one."}
CLICK = {"target": AT_EITHER, "modifiers?": MODIFIERS, "tab_id?": TAB}

BROWSER: dict[str, Member] = {
    "navigate": ('Open a URL, or go "back", "forward" or "reload".', {"url": STRING, "tab_id?": TAB}),
    "list_tabs": ("List the open tabs.", {}),
    "new_tab": ("Open an empty tab and return its tab_id.", {}),
    "switch_tab": ("Make a tab the active one.", {"tab_id": STRING}),
    "close_tab": ("Close a tab.", {"tab_id": STRING}),
    "read_page": (
        "Return the page's accessibility tree, with element references to use as targets.",
        {
            "filter?": {"type": "string", "enum": ["interactive", "all"]},
            "depth?": INTEGER,
            "ref?": STRING,
            "tab_id?": TAB,
        },
    ),
    "get_page_text": ("Return the page's visible text.", {"tab_id?": TAB}),
    "read_console": ("Return console output since the last read.", {"tab_id?": TAB}),
    "read_network": ("Return network requests since the last read.", {"tab_id?": TAB}),
    "find": ("Find elements by a description in words.", {"query": STRING, "tab_id?": TAB}),
    "form_input": (
        "Set the value of a form element.",
        {"target": AT_ELEMENT, "value": {"type": ["string", "number", "boolean"]}, "tab_id?": TAB},
    ),
    "file_upload": (
        "Give files to a file input; one of paths and document_ids is needed.",
        {"target": AT_ELEMENT, "paths?": STRINGS, "document_ids?": STRINGS, "tab_id?": TAB},
    ),
    "scroll_to": ("Scroll an element into view.", {"target": AT_ELEMENT, "tab_id?": TAB}),
    "screenshot": ("Capture the viewport.", {"tab_id?": TAB}),
    "zoom": ("Capture [x0, y0, x1, y1] of the viewport, enlarged.", {"region": REGION, "tab_id?": TAB}),
    "left_click": ("Left-click a point or an element.", CLICK),
    "right_click": ("Right-click a point or an element.", CLICK),
    "middle_click": ("Middle-click a point or an element.", CLICK),
    "double_click": ("Double-click a point or an element.", CLICK),
    "triple_click": ("Triple-click a point or an element.", CLICK),
    "hover": ("Move the cursor to a point or an element.", {"target": AT_EITHER, "tab_id?": TAB}),
    "left_click_drag": ("Drag from `from` to `target`.", {"from": AT_POINT, "target": AT_POINT, "tab_id?": TAB}),
    "left_mouse_down": ("Press the left button and hold it.", {"target": AT_POINT, "tab_id?": TAB}),
    "left_mouse_up": ("Release the left button.", {"target": AT_POINT, "tab_id?": TAB}),
    "mouse_move": ("Move the pointer without clicking.", {"target": AT_POINT, "tab_id?": TAB}),
    "scroll": (
        "Turn the wheel, by default 3 notches.",
        {"target": AT_POINT, "scroll_direction": DIRECTION, "scroll_amount?": INTEGER, "tab_id?": TAB},
    ),
    "type": ("Type text at the focus.", {"text": STRING, "tab_id?": TAB}),
    "key": ("Press keys, chords or a sequence of them.", {"text": STRING, "repeat?": INTEGER, "tab_id?": TAB}),
    "hold_key": ("Hold a key or chord for up to 30 seconds.", {"text": STRING, "duration": NUMBER, "tab_id?": TAB}),
    "wait": ("Wait for up to 30 seconds.", {"duration": NUMBER, "tab_id?": TAB}),
    "javascript_exec": (
        "Run JavaScript in the page and return the value of its last expression.",
        {"text": STRING, "tab_id?": TAB},
    ),
}

TOOLSETS: dict[str, tuple[str, dict[str, Member]]] = {
    "computer_toolset_20260801": ("computer", COMPUTER),
    "browser_toolset_20260801": ("browser", BROWSER),
}


def members(tool: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Name, description and input schema of each member that the toolset's `configs` leave enabled."""
    _, table = TOOLSETS[tool["type"]]
    configs = tool.get("configs") or {}
    for name, (text, parameters) in table.items():
        if (configs.get(name) or {}).get("enabled") is not False:
            properties = {parameter.rstrip("?"): schema for parameter, schema in parameters.items()}
            required = [parameter for parameter in parameters if not parameter.endswith("?")]
            yield name, text, {"type": "object", "properties": properties, "required": required}
