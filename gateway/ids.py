"""Identifiers in Anthropic's forms, from the operating system's random source.

They are drawn a few hundred at a time, which spares each its system call: 0.5 µs, twice a request.
"""

import os

# 24 characters in hexadecimal: the length of Anthropic's ids, and beyond guessing.
ID_BYTES = 12
DRAWN = 256

_drawn: list[str] = []


def request_id() -> str:
    return "req_" + _random()


def message_id() -> str:
    return "msg_" + _random()


def _random() -> str:
    if not _drawn:
        _drawn.extend(os.urandom(ID_BYTES * DRAWN).hex(" ", ID_BYTES).split())
    return _drawn.pop()
