"""The command that counts archaic wording."""

from tests.support.wording import DEFAULT_PATHS, ROOT, findings, markdown_texts, measure, python_texts, rate


def test_listed_words_and_openings_are_found() -> None:
    assert findings("What nobody is told.", is_docstring=True) == (4, ["nobody", "told", "what …"])


def test_plain_english_and_quoted_code_are_not_found() -> None:
    assert findings("Return the key, `told` in logs.", is_docstring=True)[1] == []


def test_docstrings_and_comments_are_read_and_strings_are_not() -> None:
    source = '"""Module."""\nNAME = "nobody"  # a comment\n'
    assert list(python_texts(source)) == [(1, "Module.", True), (2, "a comment", False)]


def test_code_blocks_of_markdown_are_not_read() -> None:
    assert [line for _, line, _ in markdown_texts("a\n```\nnobody\n```\nb")] == ["a", "b"]


def test_project_stays_below_ten_archaic_words_in_ten_thousand() -> None:
    words, counts, lines = measure([ROOT / path for path in DEFAULT_PATHS])
    assert rate(counts.total(), words.total()) <= 10, "\n".join(lines)
