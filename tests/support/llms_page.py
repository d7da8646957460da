"""Writer of docs/llms.txt (https://llmstxt.org): the list of pages, for models that read documentation.

`python -m tests.support.llms_page` writes it from docs/README.md; with `--check` it compares.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "llms.txt"
HEAD = """# Dragoman

> An LLM gateway that speaks Anthropic's Messages API, batches and threads to clients, and OpenRouter, OpenAI chat
> completions, OpenAI Responses or Anthropic Messages to upstreams.

## Pages

"""


def page() -> str:
    rows = re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\) \| (.+) \|$", (DOCS / "README.md").read_text(), re.MULTILINE)
    start = sorted(path.name for path in (DOCS / "start").glob("*.md") if path.name != "README.md")
    lines = [f"- [{name}]({path}): {what}" for name, path, what in rows]
    return HEAD + "\n".join(lines + [f"- [start/{name}](start/{name}): a quick start" for name in start]) + "\n"


def main(arguments: Sequence[str]) -> int:
    if "--check" not in arguments:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.stderr.write("docs/llms.txt is not up to date: run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
