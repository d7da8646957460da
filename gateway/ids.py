"""Identifiers in Anthropic's forms, from the operating system's random source (a uuid4 costs four times as much)."""

import os
from base64 import b32encode

# 15 bytes are 24 characters of base 32: as long as Anthropic's ids, and beyond guessing.
ID_BYTES = 15


def request_id() -> str:
    return "req_" + _random()


def message_id() -> str:
    return "msg_" + _random()


def batch_id() -> str:
    return "msgbatch_" + _random()


def _random() -> str:
    return b32encode(os.urandom(ID_BYTES)).decode().lower()
