"""What a command prints for people: nothing in text from a server or a file controls the terminal."""

import pytest
import typer

from gateway.cli.console import CommandError, Console, printable

TEXTS = {
    "an escape sequence": ("a\x1b[2Jb", r"a\x1b[2Jb"),
    "a carriage return": ("a\rb", r"a\rb"),
    "the control sequence introducer of 8 bits": ("a\x9bb", r"a\x9bb"),
    "an override of direction": ("a\u202eb", r"a\u202eb"),
    "half a surrogate pair": ("a\ud800b", r"a\ud800b"),
    "lines and tabs": ("a\nb\tc", "a\nb\tc"),
    "letters beyond ASCII": ("modèle-猫", "modèle-猫"),
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.values(), ids=TEXTS)
def test_text_is_printed_without_control_over_the_terminal(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console()
    console.answer({}, text)
    console.note(text)
    console.event("event", text)
    with pytest.raises(typer.Exit), console.failing_clearly():
        raise CommandError(text, text)
    printed = capsys.readouterr()
    assert printed.out == f"{shown}\n"
    lines = "".join(f"dragoman: {line}\n" for line in shown.split("\n"))
    assert printed.err == f"{shown}\n{shown}\n{lines}  → {shown}\n"
    assert printable(shown) == shown
