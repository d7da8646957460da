"""The tool that an upstream means by the name of a call, among those that were offered.

Models and servers put marks around names, or write them in another case: gpt-oss its harmony marks (vLLM issue 32587)
and namespaces, Gemini its own, small models `bash` for `Bash`. A name is only changed into one that was offered, and
only where a single one can be meant.
"""

import re
from collections.abc import Collection

# Prefixes that models add to the names they were given: `functions.` (GPT), `default_api.` (Gemini).
NAMESPACE = re.compile(r"^(?:functions?|default_api|tools?)[.:/]")
ILLEGAL_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")
WORDS = re.compile(r"[a-zA-Z0-9_-]+")
# Anthropic's limit for the name of a tool.
MAX_NAME = 128


def to_offered_name(name: str, offered: Collection[str]) -> str:
    """The offered tool that is meant; else the name without marks and namespaces, in characters that names have."""
    legal = to_legal_name(name)
    if name in offered:
        return name
    if not offered or legal in offered:
        return legal
    named = {word for word in WORDS.findall(name) if word in offered}
    alike = named or {tool for tool in offered if _alike(tool) == _alike(legal)}
    return alike.pop() if len(alike) == 1 else legal


def to_legal_name(name: str) -> str:
    bare = NAMESPACE.sub("", name.partition("<|")[0].strip())
    return ILLEGAL_IN_NAME.sub("_", bare)[:MAX_NAME]


def joined_name(begun: str, name: str, offered: Collection[str]) -> str:
    """The offered tool named by these two pieces together or by the second alone; "" if there is none.

    Of more than two pieces, the first two are the beginning of a name.
    """
    if begun in offered:
        return ""
    joined = begun + name
    whole = next((named for named in (name, joined) if named in offered and named.startswith(begun)), "")
    return whole or (joined if any(tool.startswith(joined) for tool in offered) else "")


def _alike(name: str) -> str:
    return name.lower().replace("-", "_")
