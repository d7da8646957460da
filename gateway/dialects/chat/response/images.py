"""Images in answers. Anthropic's messages have no block for one that a model made; who asked for images gets the block
that a request has for them, so that it can be sent back as it is.
"""

from collections.abc import Mapping
from typing import Any

from gateway.errors import InvalidRequest
from gateway.messages.validation.media import check_url, image_type, is_base64

# In place of images that were not requested: an answer may consist of them.
LEFT_OUT = '[An image was left out of this answer. To get it, ask with "modalities": ["image", "text"].]'


def shows_images(chat_body: Mapping[str, Any]) -> bool:
    """Return whether this request asks for images, by itself or by a setting of the operator's."""
    return "image" in (chat_body.get("modalities") or ())


def to_image_block(part: Any) -> dict[str, Any] | None:
    """Convert a chat part `image_url`, by data URI or by web address. None where a request could not hold it.

    The media type is what the bytes say: upstreams' own words are not always true, and a request's are checked.
    """
    holder = part.get("image_url") if isinstance(part, dict) else None
    url = holder.get("url") if isinstance(holder, dict) else None
    if not isinstance(url, str):
        return None
    if not url.startswith("data:"):
        try:
            check_url(url, "image")
        except InvalidRequest:
            # An address that no request could hold: the next turn would be refused with it.
            return None
        return {"type": "image", "source": {"type": "url", "url": url}}
    data = url.partition(";base64,")[2]
    media_type = image_type(data) if is_base64(data) else None
    if media_type is None:
        return None
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def to_image_part(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chat part of a block that `to_image_block` has made."""
    source = block["source"]
    url = source["url"] if source["type"] == "url" else f"data:{source['media_type']};base64,{source['data']}"
    return {"type": "image_url", "image_url": {"url": url}}
