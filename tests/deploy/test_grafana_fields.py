"""The boards hold no field that Grafana does not know. Its own types read them and write them again.

Skipped without grafana-foundation-sdk (`pip install grafana-foundation-sdk`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

dashboard = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="Grafana's types are not installed")
from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402 - skipped above
from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: E402

BOARDS = sorted((Path(__file__).parent.parent.parent / "deploy/grafana").glob("*.json"))


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
def test_board_is_the_same_after_grafanas_types_have_read_and_written_it(file: Path) -> None:
    register_default_plugins()
    board = json.loads(file.read_text(encoding="utf-8"))
    written = json.loads(JSONEncoder(sort_keys=True).encode(dashboard.Dashboard.from_json(board)))
    assert list(missing(board, written)) == []


def missing(ours: Any, written: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of ours that were dropped or changed. Grafana's types add defaults, which are no loss."""
    if isinstance(ours, dict):
        for name, value in ours.items():
            yield from missing(value, written.get(name) if isinstance(written, dict) else None, f"{path}.{name}")
    elif isinstance(ours, list):
        for number, value in enumerate(ours):
            same = isinstance(written, list) and number < len(written)
            yield from missing(value, written[number] if same else None, f"{path}[{number}]")
    elif ours != written:
        yield f"{path}: {ours!r} became {written!r}"
