"""Identifiers in Anthropic's forms, from the operating system's random source (a uuid4 costs four times as much)."""

import os

# 24 characters in hexadecimal: as long as Anthropic's ids, and beyond guessing.
ID_BYTES = 12


def request_id() -> str:
    return "req_" + _random()


def message_id() -> str:
    return "msg_" + _random()


def _random() -> str:
    return os.urandom(ID_BYTES).hex()
