"""Pages of lists by id and by cursor, with every edge of their bounds."""

from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.errors import InvalidRequest, NotFound
from gateway.web.admin.pages import MAX_PAGE, found, limit_of, page_by_cursor, page_by_id, values_of
from gateway.web.admin.requests import etag_of, to_version

OBJECTS = [{"id": name} for name in "abcde"]


def asked(**query: Any) -> web.Request:
    return make_mocked_request("GET", f"/list?{urlencode(query, doseq=True)}")


def body_of(response: web.Response) -> Any:
    assert response.headers["cache-control"] == "no-store"
    assert isinstance(response.body, bytes)
    return orjson.loads(response.body)


def ids_of(body: Any) -> str:
    return "".join(one["id"] for one in body["data"])


@pytest.mark.parametrize(
    ("query", "ids", "has_more"),
    [
        ({}, "abcde", False),
        ({"limit": 5}, "abcde", False),
        ({"limit": 4}, "abcd", True),
        ({"limit": 2, "after_id": "b"}, "cd", True),
        ({"limit": 2, "after_id": "c"}, "de", False),
        ({"after_id": "e"}, "", False),
        ({"limit": 2, "before_id": "d"}, "bc", True),
        ({"limit": 3, "before_id": "d"}, "abc", False),
        ({"limit": 4, "before_id": "d"}, "abc", False),
        ({"before_id": "a"}, "", False),
    ],
)
def test_page_by_id_has_its_objects_and_tells_whether_there_are_more(
    query: dict[str, Any], ids: str, has_more: bool
) -> None:
    body = body_of(page_by_id(asked(**query), OBJECTS))
    assert (ids_of(body), body["has_more"]) == (ids, has_more)
    assert (body["first_id"], body["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize("name", ["after_id", "before_id"])
def test_id_that_is_not_listed_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name}: there is no such object"):
        page_by_id(asked(**{name: "z"}), OBJECTS)


def test_cursor_leads_through_all_objects_once_and_in_order() -> None:
    mixed, seen, page = [OBJECTS[place] for place in (3, 0, 4, 1, 2)], "", None
    for _ in range(3):
        body = body_of(page_by_cursor(asked(limit=2, **({"page": page} if page else {})), mixed))
        assert body["has_more"] is (body["next_page"] is not None)
        seen, page = seen + ids_of(body), body["next_page"]
    assert (seen, page) == ("abcde", None)


def test_object_that_is_added_meanwhile_moves_no_other() -> None:
    first = body_of(page_by_cursor(asked(limit=2), OBJECTS))
    more = [*OBJECTS, {"id": "a2"}]
    assert ids_of(body_of(page_by_cursor(asked(limit=2, page=first["next_page"]), more))) == "cd"


def test_list_without_a_limit_of_its_own_is_shown_whole_unless_one_is_asked_for() -> None:
    many = [{"id": f"{number:02}"} for number in range(25)]
    assert len(body_of(page_by_cursor(asked(), many, limit=None))["data"]) == 25
    assert len(body_of(page_by_cursor(asked(limit=3), many, limit=None))["data"]) == 3
    assert len(body_of(page_by_cursor(asked(), many))["data"]) == 20
    assert body_of(page_by_cursor(asked(), [], limit=None)) == {"data": [], "has_more": False, "next_page": None}


def test_cursor_is_refused_with_other_parameters_and_taken_with_another_limit() -> None:
    page = body_of(page_by_cursor(asked(limit=2, status="active"), OBJECTS))["next_page"]
    assert ids_of(body_of(page_by_cursor(asked(limit=1, status="active", page=page), OBJECTS))) == "c"
    for query in ({"page": page}, {"page": page, "status": "inactive"}, {"page": "page_x"}, {"page": "page_%%%"}):
        with pytest.raises(InvalidRequest, match="page: this cursor"):
            page_by_cursor(asked(**query), OBJECTS)


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "1.5"])
def test_limit_out_of_range_is_refused(limit: str) -> None:
    with pytest.raises(InvalidRequest, match="limit: must be 1 to 1000"):
        limit_of(asked(limit=limit))
    assert [limit_of(asked(limit=one)) for one in (1, MAX_PAGE)] == [1, MAX_PAGE]


def test_object_is_found_by_its_id_or_named_with_those_that_come_close() -> None:
    objects = [{"id": "research"}, {"id": "docs"}]
    assert body_of(found(objects, "docs", "workspace")) == {"id": "docs"}
    with pytest.raises(NotFound, match="research"):
        found(objects, "reserch", "workspace")


def test_values_of_a_list_are_read_with_and_without_brackets() -> None:
    assert values_of(asked(**{"ids": ["a", "b"], "ids[]": "c", "other": "d"}), "ids") == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("if_match", "version"), [(None, None), ("*", None), (" * ", None), ('"7"', 7), ('W/"12"', 12), ("3", 3)]
)
def test_version_is_read_from_if_match(if_match: str | None, version: int | None) -> None:
    assert to_version(if_match) == version
    if version is not None:
        assert to_version(etag_of(version)[1]) == version


@pytest.mark.parametrize("if_match", ['"x"', "", '"1", "2"', '"-1"'])
def test_if_match_that_is_no_etag_of_a_reply_is_refused(if_match: str) -> None:
    with pytest.raises(InvalidRequest, match="if-match: "):
        to_version(if_match)
