"""One wording of a refusal, and the adaptation that answers it. The tables of them are in the modules named `…_rules`.

Wordings are as real servers sent them and as users of such servers reported them in 2025 and 2026; the comment beside a
rule names the server. Every repetition has a bound, since a refusal may be of any length.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from gateway.dialects.chat.request.fallbacks.messages import Body
from gateway.errors import UpstreamWords
from gateway.upstream.vendors.adaptation import Adaptation

# May find that the refusal is about something else, which is None.
Reader: TypeAlias = Callable[[re.Match[str], UpstreamWords, Body], Adaptation | None]

# Wording of servers for parameters that they do not take with any value; the last is Chinese.
UNSUPPORTED = re.compile(
    r"not (?:be |currently |yet )?(?:support|permit|allow|recogni[sz]|accept|configured|available|enabled)"
    r"|unsupported|unrecogni[sz]ed|un(?:known|expected) (?:field|param|argument|name|key|propert|variant|role)"
    r"|extra(?:_forbidden| inputs| fields)|additional propert|only (?:the )?default|only \S{1,12} is allowed"
    r"|(?:isn't|doesn't|does not|cannot|can't|can only) (?:be )?(?:support|allow|accept|use|set|specif|combine)"
    r"|no such (?:field|param)|deprecated|only allowed when|不支持|[只仅]支持",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """`words` of a refusal, and their answer: an adaptation, or a function that reads one from the refusal."""

    words: re.Pattern[str]
    answer: Adaptation | Reader

    def read(self, said: UpstreamWords, body: Body) -> Adaptation | None:
        match = self.words.search(said.text)
        if match is None:
            return None
        return self.answer if isinstance(self.answer, Adaptation) else self.answer(match, said, body)


def rule(words: str, answer: Adaptation | Reader) -> Rule:
    return Rule(re.compile(words, re.IGNORECASE | re.DOTALL | re.MULTILINE), answer)
