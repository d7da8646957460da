"""The header `anthropic-beta`."""

from gateway.web.auth import MAX_BETAS, parse_betas


def test_betas_are_read_from_lists_and_repeated_headers_up_to_a_number() -> None:
    assert parse_betas([]) == frozenset()
    assert parse_betas(["a, b,,", " c "]) == {"a", "b", "c"}
    assert parse_betas([",".join(map(str, range(MAX_BETAS + 5)))]) == set(map(str, range(MAX_BETAS)))
