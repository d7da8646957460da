"""Errors of counting by characters, on one text of each kind. `python -m tests.messages.tokens.table` prints it.

`samples/counts.json` holds what the vocabularies themselves make of the texts; docs/tokens.md says which, and
shows this table. The texts were written for it, and played no part in fitting the weights.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from gateway.messages.tokens.profiles import CLAUDE, GENERAL, OLDER_CLAUDE, OPENAI, SINGLE_DIGITS, Profile
from gateway.messages.tokens.text import Reading, text_steps

SAMPLES = Path(__file__).parent / "samples"
PROFILES = (CLAUDE, OLDER_CLAUDE, OPENAI, GENERAL, SINGLE_DIGITS)


def true_counts() -> dict[str, dict[str, int]]:
    """Return counts by kind of text, then by profile."""
    counts: dict[str, dict[str, int]] = json.loads((SAMPLES / "counts.json").read_text())
    return counts


def errors() -> dict[str, list[float]]:
    """Relative errors by kind of text, in the order of PROFILES, positive where too much is counted."""
    return {
        kind: [_estimate(kind, profile) / counts[profile.name] - 1 for profile in PROFILES]
        for kind, counts in true_counts().items()
    }


def total_errors() -> list[float]:
    """Return the errors of all texts together, as in a prompt that mixes them."""
    counts = true_counts()
    return [
        sum(_estimate(kind, profile) for kind in counts) / sum(true[profile.name] for true in counts.values()) - 1
        for profile in PROFILES
    ]


def table() -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| text | " + " | ".join(f"`{profile.name}`" for profile in PROFILES) + " |"
    yield "| --- |" + " ---: |" * len(PROFILES)
    for kind, row in {**errors(), "all of these together": total_errors()}.items():
        yield f"| {kind.replace('_', ' ')} | " + " | ".join(f"{error:+.0%}" for error in row) + " |"


def text_tokens(text: str, reading: Reading) -> float:
    return sum(text_steps(text, reading))


def _estimate(kind: str, profile: Profile) -> float:
    return text_tokens((SAMPLES / f"{kind}.txt").read_text("utf-8"), profile.reading)


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
