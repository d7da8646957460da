"""Images, documents and URLs that may be passed on."""

from base64 import b64encode
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.messages.validation.media import check_media, check_url
from tests.support.bodies import (
    GIF,
    JPEG,
    PNG,
    WEBP,
    assistant,
    body,
    call,
    check,
    check_unchanged,
    document,
    image,
    image_at,
    refusal,
    result,
    user,
)

IMAGES = {"image/png": PNG, "image/gif": GIF, "image/jpeg": JPEG, "image/webp": WEBP}
PDF = b64encode(b"%PDF-1.7\n").decode()
BASE64 = "messages.0.content.0.source.data: Invalid base64 data"


@pytest.mark.parametrize(("said", "media_type"), list(product(IMAGES, IMAGES)))
@pytest.mark.covers("Media · type, size and number of images are checked")
def test_an_image_is_of_the_type_it_claims(said: str, media_type: str) -> None:
    fields = body(messages=[user(image(IMAGES[media_type], said))])
    if said == media_type:
        check(fields)
        return
    assert refusal(fields) == (
        f"messages.0.content.0.source: The image was specified using the {said} media type, "
        f"but the image appears to be a {media_type} image"
    )


BROKEN = {
    "empty": "",
    "of a length that leaves a rest": PNG[:-1],
    "with a line break": PNG[:76] + "\r\n\r\n" + PNG[76:],
    "of the URL alphabet": PNG.replace("A", "-").replace("E", "_"),
    "with a blank": " " + PNG[1:],
    "with padding in the middle": PNG[:20] + "====" + PNG[20:],
    "with too much padding": PNG[:-4] + "A===",
    "with a letter of another alphabet": "é" + PNG[1:],
    "with a wide letter": PNG[:-1] + "＝",
    "as a data URI": "data:image/png;base64," + PNG,
    "of padding alone": "====",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_broken_base64_is_refused(data: str) -> None:
    assert refusal(body(messages=[user(image(data))])) == BASE64
    assert refusal(body(messages=[user(document(type="base64", media_type="application/pdf", data=data))])) == BASE64


def test_data_that_is_no_image_is_refused() -> None:
    message = "messages.0.content.0.source.data: Image does not match the provided media type image/png"
    assert refusal(body(messages=[user(image(PDF))])) == message
    assert refusal(body(messages=[user(image("AA=="))])) == message


@given(st.binary(min_size=1, max_size=64))
def test_whatever_python_encodes_is_base64(data: bytes) -> None:
    check_media([("image", document(type="base64", media_type="application/pdf", data=b64encode(data).decode()))])


@given(st.text(max_size=12))
def test_no_text_makes_the_check_fail_otherwise_than_by_refusing(data: str) -> None:
    with suppress(InvalidRequest):
        check_media([("image", image(data))])


def test_an_image_beyond_10_mb_is_refused_in_the_words_that_clients_know() -> None:
    data = PNG.rstrip("=")[:88] + "A" * (10 * 1024 * 1024 - 84)
    assert refusal(body(messages=[user(image(data))])) == (
        "messages.0.content.0.source.data: image exceeds 10 MB maximum: 10485764 bytes > 10485760 bytes"
    )
    check_unchanged(body(messages=[user(image(data[:-4]))]))


def test_600_images_are_accepted_and_one_more_is_refused_wherever_it_stands() -> None:
    pictures = [image()] * 599
    in_a_result = [user("a"), assistant(call()), user(result(content=[image()]), *pictures)]
    check_unchanged(body(messages=in_a_result))
    in_a_document = user(document(type="content", content=[image()]))
    message = "messages: a maximum of 600 images may be provided. Found 601."
    assert refusal(body(messages=[*in_a_result, in_a_document])) == message


WHERE = {
    "a message": ([user(image("!"))], "messages.0.content.0.source.data"),
    "a later message": ([user("a"), assistant("b"), user("c", image("!"))], "messages.2.content.1.source.data"),
    "a tool's result": (
        [user("a"), assistant(call()), user(result(content=[image(), image("!")]))],
        "messages.2.content.0.content.1.source.data",
    ),
    "a document": (
        [user(document(type="content", content=[image("!")]))],
        "messages.0.content.0.source.content.0.source.data",
    ),
    "a document in a tool's result": (
        [user("a"), assistant(call()), user(result(content=[document(type="content", content=[image("!")])]))],
        "messages.2.content.0.content.0.source.content.0.source.data",
    ),
    "a sound": (
        [user({"type": "input_audio", "input_audio": {"data": "!", "format": "wav"}})],
        "messages.0.content.0.input_audio.data",
    ),
}


@pytest.mark.parametrize(("messages", "path"), WHERE.values(), ids=WHERE.keys())
def test_a_broken_image_is_found_in(messages: list[Any], path: str) -> None:
    assert refusal(body(messages=messages)) == f"{path}: Invalid base64 data"


DOCUMENTS = {
    "a PDF": document(type="base64", media_type="application/pdf", data=PDF),
    "a PDF by URL": document(type="url", url="https://example.com/a.pdf"),
    "a text, and not as base64": document(type="text", media_type="text/plain", data="!"),
    "a string": document(type="content", content="!"),
    "a document with everything": {
        **document(type="content", content=[{"type": "text", "text": "a"}, image()]),
        "title": "t",
        "context": "c",
        "citations": {"enabled": True},
    },
}


@pytest.mark.parametrize("block", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_documents_are_accepted(block: dict[str, Any]) -> None:
    check_unchanged(body(messages=[user(block, "what is it about?")]))


@pytest.mark.parametrize("kind", ["image", "document"])
@pytest.mark.covers("Messages · files by id", "refused")
def test_files_are_refused_clearly(kind: str) -> None:
    block = {"type": kind, "source": {"type": "file", "file_id": "file_1"}}
    assert refusal(body(messages=[user(block)])) == (
        "messages.0.content.0.source: files are not supported here; send the content as base64 or by URL"
    )


ADDRESSES = [
    "https://example.com/a.png",
    "http://example.com:8080/a%20b?q=1#f",
    "HTTPS://EXAMPLE.COM./a.png",
    "https://8.8.8.8/a.png",
    "https://[2606:4700::1111]/a.png",
    "https://xn--bcher-kva.example/ü.png",
    "https://local.example.com/",
    "https://example.com/" + "a" * 2028,
]


@pytest.mark.parametrize("url", ADDRESSES, ids=lambda url: url[:40])
@pytest.mark.covers("Media · images by URL, which the gateway never fetches")
def test_a_public_url_is_accepted(url: str) -> None:
    check_unchanged(body(messages=[user(image_at(url))]))


INVALID, PRIVATE = "Input should be a valid http or https URL", "URL should not lead to a private network"

REFUSED_ADDRESSES = {
    "ftp://example.com/a.png": INVALID,
    "file:///etc/passwd": INVALID,
    "javascript:alert(1)": INVALID,
    "data:image/png;base64,AAAA": INVALID,
    "//example.com/a.png": INVALID,
    "example.com/a.png": INVALID,
    "https://": INVALID,
    "https:///a.png": INVALID,
    "": INVALID,
    "https://example.com/a b.png": INVALID,
    "https://example.com\\@10.0.0.1/": INVALID,
    "https://example.com/\r\nHost: x": INVALID,
    "https://example.com/\x00": INVALID,
    "https://１２７.0.0.1/": INVALID,
    "https://example.com:99999/": "Input should be a valid URL",
    "https://[::1/": "Input should be a valid URL",
    "https://user@example.com/": "URL should not contain a user name or password",
    "https://user:secret@example.com/": "URL should not contain a user name or password",
    "https://@example.com/": "URL should not contain a user name or password",
    "https://example.com/" + "a" * 2029: "URL should have at most 2048 characters",
    "http://127.0.0.1/": PRIVATE,
    "http://127.0.0.1./": PRIVATE,
    "http://127.1/": PRIVATE,
    "http://2130706433/": PRIVATE,
    "http://0x7f000001/": PRIVATE,
    "http://0177.0.0.1/": PRIVATE,
    "http://10.1.2.3/": PRIVATE,
    "http://172.16.0.1/": PRIVATE,
    "http://192.168.1.1/": PRIVATE,
    "http://169.254.169.254/latest/meta-data/": PRIVATE,
    "http://100.64.0.1/": PRIVATE,
    "http://0.0.0.0/": PRIVATE,
    "http://224.0.0.1/": PRIVATE,
    "http://[::1]/": PRIVATE,
    "http://[fe80::1]/": PRIVATE,
    "http://[fc00::1]/": PRIVATE,
    "http://[::ffff:127.0.0.1]/": PRIVATE,
    "http://[2002:7f00:1::]/": PRIVATE,
    "http://localhost/": PRIVATE,
    "http://LOCALHOST:8080/": PRIVATE,
    "http://metadata.google.internal/": PRIVATE,
    "http://printer.local/": PRIVATE,
}


@pytest.mark.parametrize(("url", "problem"), REFUSED_ADDRESSES.items(), ids=lambda value: repr(value[:40]))
@pytest.mark.covers("Media · addresses inside the network", "refused")
def test_a_url_that_must_not_be_fetched_is_refused(url: str, problem: str) -> None:
    assert refusal(body(messages=[user("a", image_at(url))])) == f"messages.0.content.1.source.url: {problem}"


def test_the_url_of_a_document_or_a_film_is_checked_too() -> None:
    film = {"type": "video_url", "video_url": {"url": "http://10.0.0.1/"}}
    assert refusal(body(messages=[user(film)])) == f"messages.0.content.0.video_url.url: {PRIVATE}"
    paper = document(type="url", url="http://10.0.0.1/")
    assert refusal(body(messages=[user(paper)])) == f"messages.0.content.0.source.url: {PRIVATE}"


@given(st.text(max_size=30).map(lambda rest: "http://" + rest) | st.text(max_size=40))
def test_no_text_makes_the_url_check_fail_otherwise_than_by_refusing(url: str) -> None:
    with suppress(InvalidRequest):
        check_url(url, "url")
