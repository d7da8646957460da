"""Headers of errors on the paths of OpenAI's APIs."""

import pytest

from gateway.errors import GatewayError, RateLimited, UpstreamError
from gateway.web.openai_errors import openai_error_response


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        pytest.param(RateLimited("slow down", retry_after=7), "7", id="429 with a time"),
        pytest.param(RateLimited("slow down"), "2", id="429 without one"),
        pytest.param(UpstreamError("broken"), None, id="another status"),
    ],
)
def test_429_alone_gets_a_retry_after_of_its_own(error: GatewayError, seconds: str | None) -> None:
    assert openai_error_response(error, "req_1", "responses").headers.get("retry-after") == seconds
