"""`python -m tests.dialects.chat.regenerate [case …]`: write what the gateway now makes of each golden stream.

Read every line of the difference before you commit it: only reading shows that the files are right.
"""

import sys

from tests.support.golden_cases import CASES, outcome

OUTCOMES = ("events.sse", "message.json", "failure.json")


def main(names: list[str]) -> None:
    for case in CASES:
        if names and case.name not in names:
            continue
        files = outcome(case)
        for name in OUTCOMES:
            path = case.folder / name
            path.unlink(missing_ok=True)
            if name in files:
                path.write_bytes(files[name])


if __name__ == "__main__":
    main(sys.argv[1:])
