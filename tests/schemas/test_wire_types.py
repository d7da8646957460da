"""The wire types against those of Anthropic's SDK: nothing that a client can send or must receive is left out."""

from typing import Any, Literal, get_args, get_origin

import pytest
from anthropic.types import Message, ModelInfo, Usage
from anthropic.types.beta import BetaContentBlockParam, BetaMessageParam, BetaThinkingConfigParam, BetaToolUnionParam
from anthropic.types.beta.beta_tool_choice_param import BetaToolChoiceParam
from anthropic.types.beta.beta_tool_result_block_param import Content as BetaToolResultContent
from anthropic.types.beta.message_create_params import MessageCreateParamsBase
from typing_extensions import get_type_hints, is_typeddict

from gateway.messages.validation.fields import UNSUPPORTED_FIELDS
from gateway.schemas import anthropic, models

# The SDK sends these as headers.
HEADERS = {"betas", "user_profile_id", "workspace_id"}


def members(union: Any) -> list[Any]:
    """The TypedDicts of a union, through aliases, annotations, and unions within it."""
    if is_typeddict(union):
        return [union]
    return [member for part in get_args(union) for member in members(part)]


def fields_by_type(union: Any, key: str = "type") -> dict[str, set[str]]:
    fields: dict[str, set[str]] = {}
    for member in members(union):
        hints = get_type_hints(member)
        for label in literals(hints[key]):
            fields.setdefault(label, set()).update(hints)
    return fields


def literals(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [value for value in get_args(hint) if isinstance(value, str)]
    return [label for part in get_args(hint) for label in literals(part)]


def test_every_request_field_of_the_sdk_is_known_or_refused_by_name() -> None:
    known = anthropic.MessagesRequest.__required_keys__ | anthropic.MessagesRequest.__optional_keys__
    missing = get_type_hints(MessageCreateParamsBase).keys() - HEADERS - known - UNSUPPORTED_FIELDS.keys()
    assert not missing


UNIONS = {
    "blocks": (BetaContentBlockParam, anthropic.ContentBlockParam, "type"),
    "blocks of tool results": (BetaToolResultContent, anthropic.ToolResultContentBlock, "type"),
    "messages": (BetaMessageParam, anthropic.MessageParam, "role"),
    "tools": (BetaToolUnionParam, anthropic.ToolParam, "type"),
    "tool choices": (BetaToolChoiceParam, anthropic.ToolChoice, "type"),
    "kinds of thinking": (BetaThinkingConfigParam, anthropic.ThinkingConfig, "type"),
}


@pytest.mark.parametrize(("theirs", "ours", "key"), UNIONS.values(), ids=UNIONS.keys())
def test_every_member_of_a_union_is_known_with_all_its_fields(theirs: Any, ours: Any, key: str) -> None:
    known = fields_by_type(ours, key)
    missing = {label: names - known.get(label, set()) for label, names in fields_by_type(theirs, key).items()}
    assert {label: names for label, names in missing.items() if names} == {}


RESPONSES = {
    "a model": (ModelInfo, models.ModelEntry),
    "a model's capabilities": (ModelInfo.model_fields["capabilities"].annotation, models.Capabilities),
    "a message": (Message, anthropic.Message),
    "its usage": (Usage, anthropic.Usage),
}


@pytest.mark.parametrize(("theirs", "ours"), RESPONSES.values(), ids=RESPONSES.keys())
def test_every_field_that_the_sdk_requires_of_a_reply_is_there(theirs: Any, ours: Any) -> None:
    model = next((part for part in get_args(theirs) if hasattr(part, "model_fields")), theirs)
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    assert not required - get_type_hints(ours).keys()
