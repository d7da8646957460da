"""The command that counts archaic wording."""

from tests.support.wording import (
    DEFAULT_PATHS,
    ROOT,
    comment_texts,
    findings,
    markdown_texts,
    measure,
    python_texts,
    rate,
)


def test_listed_words_and_openings_are_found() -> None:
    assert findings("What nobody is told.", is_docstring=True) == (4, ["nobody", "told", "what …"])


def test_plain_english_and_quoted_code_are_not_found() -> None:
    assert findings("Return the key, `told` in logs.", is_docstring=True)[1] == []


def test_docstrings_and_comments_are_read_and_strings_are_not() -> None:
    source = '"""Module."""\nNAME = "nobody"  # a comment\n'
    assert list(python_texts(source)) == [(1, "Module.", True), (2, "a comment", False)]


def test_messages_and_docstrings_of_fields_are_read_on_request() -> None:
    source = 'NAME = "a server that is away"\n"""A field."""\nSHORT = "is away"\n'
    texts = [(1, "a server that is away", False), (2, "A field.", True)]
    assert sorted(python_texts(source, with_messages=True)) == texts


def test_comments_of_other_languages_are_read_and_code_is_not() -> None:
    assert list(comment_texts("-- first\nreturn a - 1 -- second\n", "--")) == [
        (1, "first", False),
        (2, "second", False),
    ]
    source = "/** Block.\n * More. */\nconst a = 1; // line\n"
    assert [text for _, text, _ in comment_texts(source, "//")] == ["Block.", "More.", "line"]


def test_code_blocks_of_markdown_are_not_read() -> None:
    assert [line for _, line, _ in markdown_texts("a\n```\nnobody\n```\nb")] == ["a", "b"]


def test_project_stays_below_ten_archaic_words_in_ten_thousand() -> None:
    words, counts, lines = measure([ROOT / path for path in DEFAULT_PATHS])
    assert rate(counts.total(), words.total()) <= 10, "\n".join(lines)
