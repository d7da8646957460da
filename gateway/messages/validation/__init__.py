"""Request validation: strict, with the messages of Anthropic's API.

`request` is the way in. First the shape, by pydantic over the wire types (`error_messages` words its first error); then
what no type can say: `fields` for parameters that exclude one another, `tools`, `turns` for who may say what and when,
`media`, `breakpoints` for cache_control, `unknown_keys` for keys that are noted. No value is converted or filled in:
the input's own objects are returned, without unknown top-level fields. Conversion decides later whether a model or an
upstream supports the request.

Integers beyond 64 bits have become floating point before they get here. Where a parameter wants an integer they are
refused; in a tool call's input they are carried and noted; in a tool's schema they are carried, as a bound of that size
says the same in either form.
"""

from gateway.messages.validation.request import check_count_tokens_request, check_messages_request

__all__ = ["check_count_tokens_request", "check_messages_request"]
