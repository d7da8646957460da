"""Dependencies: floors that leave out broken versions, and locks that any index can serve."""

import re
import tomllib

import pytest

from tests.cluster.programs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def requirement(name: str) -> str:
    [found] = [entry for entry in PROJECT["dependencies"] if re.match(rf"{name}(?![\w-])", entry)]
    return str(found).removeprefix(name)


def test_aiohttp_is_bounded_to_the_minor_version_whose_private_names_are_used() -> None:
    assert requirement("aiohttp") == ">=3.14.4,<3.15"


def test_orjson_has_a_limit_on_nesting() -> None:
    assert requirement("orjson") == ">=3.11.6"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index(lock: str) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    assert [line for line in lines if "://" in line or line.startswith(("-", "--"))] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_each_package_with_a_hash(lock: str) -> None:
    pins = re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip())
    assert [pin.split()[0] for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
