"""The gateway that asks for one JSON answer where its client does: `python -m bench.unstreamed serve`.

The difference to `dragoman serve`, which always asks chat upstreams for a stream, is what that costs.
"""

from gateway.__main__ import main
from gateway.dialects.chat import dialect
from gateway.schemas.openai import ChatRequest
from gateway.upstream.models.target import Target


def as_it_is(body: ChatRequest, _target: Target) -> ChatRequest:
    """Take the place of `to_streamed`."""
    return body


if __name__ == "__main__":
    dialect.to_streamed = as_it_is
    main()
