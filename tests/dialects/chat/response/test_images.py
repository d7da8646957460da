"""Images in answers: blocks for who asked for them, words for who did not, a note wherever one is lost."""

from base64 import b64encode
from typing import Any

import pytest

from gateway.access.keyring import Keyring
from gateway.dialects.chat.request.convert import to_chat_request
from gateway.dialects.chat.response.convert import to_message
from gateway.dialects.chat.response.images import LEFT_OUT, shows_images
from gateway.messages.fold import fold_events
from gateway.messages.notes import Note
from gateway.messages.replay import to_events
from gateway.messages.validation import check_messages_request
from gateway.upstream.models.target import to_target
from gateway.upstream.vendors.registry import OPENROUTER
from tests.support.streams import Json, call, chunk, completion, finish, read_events, reply, say, told

PNG = b64encode(b"\x89PNG\r\n\x1a\n and then the image").decode()
JPEG = b64encode(b"\xff\xd8\xff and then the image").decode()


def part(url: Any) -> Json:
    return {"type": "image_url", "image_url": {"url": url}}


def data_uri(data: str, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{data}"


def drawn(*urls: Any) -> Json:
    return chunk({"images": [part(url) for url in urls]})


def block(data: str = PNG, media_type: str = "image/png") -> Json:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def text(words: str) -> Json:
    return {"type": "text", "text": words, "citations": None}


def lost(what: str) -> tuple[Note, ...]:
    return (Note("dropped", "content", f"the answer's {what} could not be carried over"),)


# What an upstream sends, and the blocks of a client that asked for images.
ASKED: dict[str, tuple[list[Json], list[Json]]] = {
    "after a text": ([say("Look:"), drawn(data_uri(PNG))], [text("Look:"), block()]),
    "before a text": ([drawn(data_uri(PNG)), say("So."), say(" Well.")], [block(), text("So. Well.")]),
    "between two texts": ([say("a"), drawn(data_uri(PNG)), say("b"), say("c")], [text("a"), block(), text("bc")]),
    "two at once": ([drawn(data_uri(PNG), data_uri(JPEG))], [block(), block(JPEG, "image/jpeg")]),
    "of another type than is said": ([drawn(data_uri(JPEG, "image/png"))], [block(JPEG, "image/jpeg")]),
    "by a web address": (
        [drawn("https://images.example.com/1.png")],
        [{"type": "image", "source": {"type": "url", "url": "https://images.example.com/1.png"}}],
    ),
    "as a part of the content": (
        [chunk({"content": [{"type": "text", "text": "a"}, part(data_uri(PNG))]})],
        [text("a"), block()],
    ),
    "alone and not in a list": ([chunk({"images": part(data_uri(PNG))})], [block()]),
    "while a tool is called": (
        [call(0, '{"a":', "c", "f"), drawn(data_uri(PNG)), call(0, "1}")],
        [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}, "json": '{"a":1}'}, block()],
    ),
}


@pytest.mark.parametrize("stops", [(), ("END",)], ids=["plain", "guarded"])
@pytest.mark.parametrize("tags", [False, True], ids=["", "think tags"])
@pytest.mark.parametrize("case", ASKED)
@pytest.mark.covers("Media · images made by the model")
def test_r58_who_asked_for_images_gets_them(case: str, tags: bool, stops: tuple[str, ...]) -> None:
    payloads, expected = ASKED[case]
    result = told(*payloads, finish(), shows_images=True, stop_sequences=stops, think_tags=tags)
    assert result.failure is None
    assert result.blocks == expected
    assert result.stream.notes == ()


def test_the_images_of_a_json_answer_are_those_of_a_stream() -> None:
    delta = {"content": "Look:", "images": [part(data_uri(PNG))]}
    answered = to_message(completion(delta), reply(shows_images=True))
    assert (
        answered.message["content"]
        == told(chunk(delta), finish(), shows_images=True).blocks
        == [text("Look:"), block()]
    )
    assert fold_events(read_events(to_events(answered.message))) == answered.message


def test_a_client_that_did_not_ask_for_images_is_notified_once() -> None:
    result = told(say("Look:"), drawn(data_uri(PNG)), drawn(data_uri(JPEG)), say("So."), finish())
    assert result.blocks == [text("Look:"), text(LEFT_OUT), text("So.")]
    assert result.stream.notes == lost("images, which were not asked for,")


LOST: dict[str, Any] = {
    "no address": {"type": "image_url"},
    "an address that is no string": part(5),
    "no part": "x",
    "no base64": part("data:image/png,abc"),
    "broken base64": part(data_uri(PNG[:-1])),
    "no image that the API takes": part(data_uri(b64encode(b"<svg></svg>").decode(), "image/svg+xml")),
    "a private address": part("http://127.0.0.1/1.png"),
    "another scheme": part("file:///etc/passwd"),
}


@pytest.mark.parametrize("case", LOST)
def test_an_image_that_no_request_could_hold_is_noted_once(case: str) -> None:
    result = told(say("a"), chunk({"images": [LOST[case], LOST[case]]}), say("b"), finish(), shows_images=True)
    assert [block["text"] for block in result.blocks] == ["ab"]
    assert result.stream.notes == lost("images that no request could hold")


def test_nothing_follows_a_stop_sequence_and_no_image_either() -> None:
    result = told(say("a END"), drawn(data_uri(PNG)), finish(), shows_images=True, stop_sequences=("END",))
    assert result.blocks == [text("a ")]


@pytest.mark.parametrize("stops", [("END",)])
def test_possible_start_of_a_stop_sequence_comes_before_the_image(stops: tuple[str, ...]) -> None:
    result = told(say("a E"), drawn(data_uri(PNG)), say("ND"), finish(), shows_images=True, stop_sequences=stops)
    assert result.blocks == [text("a E"), block(), text("ND")]


def test_an_image_can_be_given_back_as_it_came() -> None:
    answer = to_message(completion({"content": "Look:", "images": [part(data_uri(PNG))]}), reply(shows_images=True))
    turns = [
        {"role": "user", "content": "Draw a cat."},
        {"role": "assistant", "content": answer.message["content"]},
        {"role": "user", "content": "And a dog."},
    ]
    body = {"model": "m", "max_tokens": 9, "messages": turns}
    request, _ = check_messages_request(body, version="2023-06-01", betas=frozenset())
    target = to_target("google/gemini-3-pro-image", OPENROUTER)
    chat = to_chat_request(request, target, Keyring.parse("k:s")).body["messages"]
    assert chat[1]["content"] == [{"type": "text", "text": "Look:"}, part(data_uri(PNG))]


@pytest.mark.parametrize(
    ("modalities", "asked"), [(["image", "text"], True), (["text"], False), (["text", "audio"], False), (None, False)]
)
def test_modalities_ask_for_images(modalities: list[str] | None, asked: bool) -> None:
    assert shows_images({"modalities": modalities}) is asked
    assert shows_images({}) is False
