"""Checks for fields of a client's JSON. Each failure names the field and the form that it should have."""

from typing import Any

from gateway.errors import InvalidRequest


def to_object(value: object, path: str) -> dict[str, Any]:
    """Raises InvalidRequest unless the value is an object."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{path}: Input should be an object")
    return value


def to_list(value: object, path: str) -> list[Any]:
    """Return an array; null and absent are empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"{path}: Input should be an array")
    return value


def to_text(value: object, path: str) -> str:
    """Raises InvalidRequest unless the value is a string."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{path}: Input should be a string")
    return value


def to_flag(value: object, path: str, *, default: bool = False) -> bool:
    """Return a boolean; null and absent are the default."""
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidRequest(f"{path}: Input should be a boolean")
    return value


def to_count(value: object, path: str) -> int | None:
    """Return a positive integer; null and absent are None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidRequest(f"{path}: Input should be an integer of at least 1")
    return value
