"""The true number of tokens for a prompt that does not fit.

Some servers refuse such a prompt without counting it: vLLM 0.32 reports a floor ("at least 8193") or characters, others
only the limit. Claude Code compacts by the difference of the two numbers, so a server that has a tokenizer is asked.
"""

import re
from typing import Final

from gateway.dialects.base import Asking
from gateway.errors import GatewayError
from gateway.exchange.plan import Plan
from gateway.exchange.token_count import TokenCounter

LIMIT: Final = re.compile(r"prompt is too long: \d+ tokens > (\d+) maximum")


async def count_overflow(error: GatewayError, plan: Plan, counter: TokenCounter, asking: Asking) -> None:
    """Put the upstream's own count into the message, if it gives one that is above the limit."""
    if plan.prompt is None:
        return
    count = await counter.count(plan.prompt, plan.route, asking)
    found = LIMIT.fullmatch(error.message)
    limit = int(found[1]) if found is not None else plan.route.target.context_length
    if count is not None and limit is not None and count > limit:
        error.message = f"prompt is too long: {count} tokens > {limit} maximum"
