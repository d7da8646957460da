"""Token profiles of model families: how they split text, and the costs of other content.

Chosen by the name of the upstream's model; calibration corrects what the choice gets wrong.
"""

from dataclasses import dataclass
from functools import lru_cache

from gateway.messages.tokens.text import Reading, to_reading
from gateway.upstream.models.target import bare_name, claude_version, to_family


@dataclass(frozen=True, slots=True)
class Profile:
    """`name` is what a reply's header says.

    `bytes_per_token`: of JSON as clients send it, the median over kinds of text. `tool_prompt`: tokens added by the
    first tool. `page`: a PDF's page. An image is scaled down to `image_edge` pixels and to `image_limit` tokens.
    """

    name: str
    reading: Reading
    bytes_per_token: float
    tool_prompt: int
    page: int
    image_edge: int
    image_limit: int


# Anthropic docs, 2026-11: 290 to 675 tokens come with tools, 496 on 4.5 and 4.6; a PDF page is 1,500 to 3,000 tokens of
# text and an image; images are high resolution from 4.7 on.
CLAUDE = Profile("claude", to_reading(0), 2.6, 350, 3800, 2576, 4784)
OLDER_CLAUDE = Profile("claude-before-4.7", to_reading(1), 3.3, 500, 3800, 1568, 1568)
OPENAI = Profile("openai", to_reading(2), 4.1, 0, 2250, 1568, 1568)
GENERAL = Profile("general", to_reading(3), 4.1, 0, 2250, 1568, 1568)
SINGLE_DIGITS = Profile("single-digits", to_reading(4), 3.8, 0, 2250, 1568, 1568)

SINGLE_DIGIT_NAMES = (
    *("gemini", "gemma", "qwen", "qwq"),
    *("mistral", "ministral", "mixtral", "codestral", "devstral", "magistral", "pixtral"),
)


@lru_cache(maxsize=1024)
def to_profile(model: str) -> Profile:
    """Return the profile by the upstream's model name. Vocabularies not named here are closest to GENERAL."""
    name = bare_name(model)
    if to_family(model) == "claude":
        return CLAUDE if claude_version(model) >= (4, 7) else OLDER_CLAUDE
    if to_family(model) == "openai" or name.startswith("gpt-oss"):
        return OPENAI
    return SINGLE_DIGITS if name.startswith(SINGLE_DIGIT_NAMES) else GENERAL
