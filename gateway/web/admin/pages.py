"""Pages of lists in Anthropic's two forms: by the id of an object, and by a cursor."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from gateway.access.roster import not_found
from gateway.errors import InvalidRequest
from gateway.json_values import to_whole
from gateway.web.reply import NO_STORE, json_response

# As of Anthropic's lists.
MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 20
# Parameters that choose a page and do not change the list.
OF_A_PAGE: Final = frozenset({"limit", "page", "beta"})

Objects = Sequence[dict[str, Any]]


def page_by_id(request: web.Request, objects: Objects) -> web.Response:
    """Return the page after `after_id` or before `before_id`. Raises InvalidRequest for an id that is not listed."""
    query, ids, limit = request.query, [one["id"] for one in objects], limit_of(request)
    for name in ("after_id", "before_id"):
        if name in query and query[name] not in ids:
            raise InvalidRequest(f"{name}: there is no such object in this list")
    if "before_id" in query:
        end = ids.index(query["before_id"])
        page, has_more = objects[max(0, end - limit) : end], end > limit
    else:
        start = ids.index(query["after_id"]) + 1 if "after_id" in query else 0
        page, has_more = objects[start : start + limit], len(objects) > start + limit
    body = {
        "data": page,
        "has_more": has_more,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }
    return json_response(body, headers=NO_STORE)


@dataclass(frozen=True, slots=True)
class ListPage:
    """`data`: the objects of one page, in their order. `next_page`: the cursor of the next one, if there is one."""

    data: Objects = field(repr=False)
    next_page: str | None

    def response(self, shown: Objects) -> web.Response:
        """Return the page with these objects in place of its own."""
        body = {"data": shown, "has_more": self.next_page is not None, "next_page": self.next_page}
        return json_response(body, headers=NO_STORE)


def page_by_cursor(
    request: web.Request, objects: Objects, key: str = "id", limit: int | None = DEFAULT_PAGE
) -> web.Response:
    """Return the page after the cursor `page` as a response; see `cut_by_cursor`."""
    page = cut_by_cursor(request, objects, key, limit)
    return page.response(page.data)


def cut_by_cursor(
    request: web.Request, objects: Objects, key: str = "id", limit: int | None = DEFAULT_PAGE
) -> ListPage:
    """Return the page after the cursor `page`, in the order of `key`. `limit`: objects unless asked for, None for all.

    An object that is added meanwhile moves no other to another page. Raises InvalidRequest for the cursor of a list
    with other parameters.
    """
    listed = sorted(objects, key=lambda one: str(one[key]))
    wanted = sorted((name, value) for name, value in request.query.items() if name not in OF_A_PAGE)
    digest = hashlib.sha256(repr((request.path, wanted)).encode()).hexdigest()[:12]
    if "page" in request.query:
        text = request.query["page"].removeprefix("page_")
        try:
            cursor = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        except (binascii.Error, ValueError):
            cursor = ""
        if not cursor.startswith(digest):
            raise InvalidRequest("page: this cursor is not of a list with these parameters")
        listed = [one for one in listed if str(one[key]) > cursor.removeprefix(digest)]
    most = limit_of(request) if limit is not None or "limit" in request.query else len(listed)
    page = listed[:most]
    if len(listed) == len(page):
        return ListPage(page, None)
    following = base64.urlsafe_b64encode(f"{digest}{page[-1][key]}".encode())
    return ListPage(page, "page_" + following.decode().rstrip("="))


def found(objects: Objects, wanted: str, what: str) -> web.Response:
    """Return the object of this id. Raises NotFound, with ids that come close."""
    for one in objects:
        if one["id"] == wanted:
            return json_response(one, headers=NO_STORE)
    raise not_found(what, wanted, [one["id"] for one in objects])


def limit_of(request: web.Request) -> int:
    limit = to_whole(request.query.get("limit", str(DEFAULT_PAGE)), MAX_PAGE)
    if limit is None:
        raise InvalidRequest(f"limit: must be 1 to {MAX_PAGE}")
    return limit


def values_of(request: web.Request, name: str) -> frozenset[str]:
    """Return the values of a list in the query, with or without brackets after its name."""
    return frozenset((*request.query.getall(name, ()), *request.query.getall(f"{name}[]", ())))
