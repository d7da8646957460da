"""Writer of docs/errors.md: the causes and the messages are read from the source, so the page has all of them.

`python -m tests.support.errors_page` writes the page, with `--check` it compares.
"""

import ast
import sys
from collections.abc import Iterator, Sequence
from inspect import isclass
from pathlib import Path

from gateway import errors
from gateway.errors import GatewayError, InvalidRequest
from gateway.upstream.health.causes import CAUSES, CLIENT_LEFT, cause_of
from tests.support.architecture import Module, read_modules

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/errors.md"
KINDS: dict[str, type[GatewayError]] = {
    name: kind for name, kind in vars(errors).items() if isclass(kind) and issubclass(kind, GatewayError)
}
CAUSES_HEAD = "| cause | origin | meaning |\n| --- | --- | --- |\n"
MESSAGES_HEAD = "| status | message | cause |\n| --- | --- | --- |\n"


def causes_table() -> str:
    rows = [f"| `{cause.name}` | {cause.origin} | {cause.meaning} |" for cause in (*CAUSES, CLIENT_LEFT)]
    return CAUSES_HEAD + "\n".join(rows) + "\n"


def messages_table() -> str:
    found = {row for module in read_modules().values() for row in messages_of(module)}
    return (
        MESSAGES_HEAD + "\n".join(f"| {status} | {text} | `{cause}` |" for status, text, cause in sorted(found)) + "\n"
    )


def messages_of(module: Module) -> Iterator[tuple[int, str, str]]:
    """Yield the messages that a module raises, except those of invalid requests, of which there is one per field."""
    constants = {
        target.id: node.value
        for node in module.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in module.nodes:
        if not isinstance(node, ast.Call) or not node.args or not isinstance(node.func, ast.Name):
            continue
        kind = KINDS.get(node.func.id)
        if kind is None or issubclass(kind, InvalidRequest):
            continue
        text = to_text(node.args[0], constants)
        if text is not None:
            yield kind.status, text.replace("|", "\\|"), cause_of(kind("")).name


def to_text(node: ast.expr, constants: dict[str, ast.expr]) -> str | None:
    """Return a message with `…` for its variable parts; None if its text is not in the source."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            texts = [part.value if isinstance(part, ast.Constant) else "…" for part in parts]
            return "".join(map(str, texts))
        case ast.Name(id=name) if name in constants:
            return to_text(constants[name], {})
        case _:
            return None


def page(text: str) -> str:
    """Return the page with its two tables updated from the source."""
    for head, table in ((CAUSES_HEAD, causes_table()), (MESSAGES_HEAD, messages_table())):
        before, _, rest = text.partition(head)
        after = rest.partition("\n\n")[2]
        text = f"{before}{table}" + (f"\n{after}" if after else "")
    return text


def main(arguments: Sequence[str]) -> int:
    text = PAGE.read_text()
    if "--check" not in arguments:
        PAGE.write_text(page(text))
    elif page(text) != text:
        sys.stderr.write("docs/errors.md is not up to date: run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
