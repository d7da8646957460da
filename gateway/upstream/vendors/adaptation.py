"""A change that chat requests to one upstream model need, because the upstream has refused a request without it.

Only the value lives here: what is learned of an upstream is kept beside routing. The rules that derive an adaptation
from a refusal, and those that apply it to a request, are in `dialects/chat/request/fallbacks`.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal[
    "alternate_turns",
    "auto_choice",
    "bare_schemas",
    "complete_strict",
    "cut_descriptions",
    "cut_stops",
    "declare_tools",
    "drop_fields",
    "drop_nested",
    "drop_reasoning",
    "effort_none_with_tools",
    "efforts",
    "empty_content",
    "fill_empty",
    "fill_reasoning",
    "flat_content",
    "forced_without_thinking",
    "format_in_prompt",
    "hide_tools",
    "json_object",
    "keep_thinking",
    "length_field",
    "lone_tool",
    "max_tokens",
    "media_as_text",
    "name_results",
    "narrow_schemas",
    "no_system",
    "not_strict",
    "omit_content",
    "plain_schemas",
    "prefill_fields",
    "prefill_flag",
    "schema_formats",
    "schema_words",
    "short_ids",
    "sign_calls",
    "single_types",
    "strict_calls",
    "system_as_user",
    "system_role",
    "typed_schemas",
]
KINDS: frozenset[str] = frozenset(get_args(Kind))

# A stored adaptation with more or longer names than this did not come from a gateway.
MAX_NAMES = 64
MAX_NAME_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Adaptation:
    """One change. `names` are fields, words or efforts and `limit` is a count, where the kind needs them.

    `lasting`: it holds for every request to the model. Others concern the content of one request only.
    """

    kind: Kind
    names: tuple[str, ...] = ()
    limit: int = 0
    lasting: bool = True

    def to_plain(self) -> list[Any]:
        """The JSON form in which replicas share it. Only lasting adaptations are shared."""
        return [self.kind, list(self.names), self.limit]


def to_adaptation_value(plain: Any) -> Adaptation | None:
    """The adaptation of a JSON form; None for what is malformed, or of a kind that this version does not know."""
    match plain:
        case [str(kind), list(names), int(limit)] if (
            kind in KINDS
            and len(names) <= MAX_NAMES
            and all(isinstance(name, str) and len(name) <= MAX_NAME_LENGTH for name in names)
        ):
            return Adaptation(kind, tuple(names), limit)  # type: ignore[arg-type]
        case _:
            return None
