"""aiohttp still has the private names that the gateway uses."""

from importlib import import_module

import pytest

from gateway.process.aiohttp_internals import PRIVATE_NAMES


@pytest.mark.parametrize(("name", "owner"), PRIVATE_NAMES.items())
def test_aiohttp_has_the_private_name(name: str, owner: str) -> None:
    module, _, type_name = owner.rpartition(".")
    assert hasattr(getattr(import_module(module), type_name), name)
