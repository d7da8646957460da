"""The upstream's models, read now and then, in Anthropic's shape.

A list that cannot be read leaves the old one standing; before the first, the aliases alone are known. Requests do not
wait for it: routing passes unknown names through. What a list says of a model corrects what routing thinks of it.
"""

import asyncio
import re
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson
import structlog

from gateway.errors import GatewayError, UpstreamError, UpstreamUnreachable
from gateway.json_values import check_answer_values, to_mapping, to_time
from gateway.telemetry.redaction import Redactor
from gateway.upstream.http.client import Call, Timeouts, UpstreamClient
from gateway.upstream.models.model_facts import lengths_of, sees_images, to_words
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import Routing, RoutingTable
from gateway.upstream.vendors.recognition import look_at
from gateway.upstream.vendors.registry import COMPATIBLE

log = structlog.get_logger()

# Models and prices change a few times a day.
FRESH_SECONDS = 300.0
# After a failure: soon enough after an upstream's restart, too rare to be a burden during its outage.
RETRY_SECONDS = 15.0
# Without any list yet: a server that loads its model is ready at some point.
FIRST_RETRY_SECONDS = 3.0
# How often to look whether it is time to read again.
WATCH_SECONDS = 30.0
MAX_LIST_BYTES = 32 * 1024 * 1024
TIMEOUTS = Timeouts(connect=3.0, first_byte=5.0, idle=5.0, total=10.0)
EFFORTS = ("low", "medium", "high", "xhigh", "max")
LINES = ("haiku", "sonnet", "opus", "fable", "mythos")
# An id of this length still fits into a request line of 8 kB when every character of it is escaped.
MAX_ID_LENGTH = 512
# Names that routes with a `*` give to models, in all: ten lists as long as OpenRouter's.
MAX_RENAMED = 5_000
# Where servers have their list, and the ids within.
LISTS = ("data", "models", "result")
IDS = ("id", "model", "name")
# Texts of an entry that are part of the Model object.
SHOWN = ("id", "name")
# Seconds since 1970 do not reach this before the year 5138; a few servers list milliseconds.
FIRST_MILLISECONDS = 100_000_000_000
LAST_SECOND = 253_402_300_799  # of the year 9999, the last that datetime knows

PRICE = re.compile(r"[-+0-9.eE]{1,32}")


@dataclass(slots=True)
class UpstreamList:
    """The list of one upstream, as it was last read. `problem`: why it could not be read the last time."""

    url: str = field(default="", repr=False)
    models: tuple[str, ...] = ()  # the only ones that the configuration allows
    entries: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    next_read: float = 0.0
    problem: str = ""
    is_recognised: bool = False


@dataclass(slots=True)
class Catalog:
    """`refresh` reads the upstreams' lists again when the last ones are older than FRESH_SECONDS.

    `models` does, too, and describes the models for clients, which takes a second or more for a list of 50,000.
    """

    client: UpstreamClient
    routing: Routing
    clock: Callable[[], float] = time.monotonic
    redactor: Redactor = field(default_factory=Redactor)
    _lists: dict[str, UpstreamList] = field(default_factory=dict, repr=False)
    _models: tuple[dict[str, Any], ...] | None = field(default=None, repr=False)
    _table: RoutingTable | None = field(default=None, repr=False)  # that _models were made with
    _reading: asyncio.Lock | None = None
    _first: asyncio.Event = field(default_factory=asyncio.Event)

    async def refresh(self) -> None:
        """Never raises for an unavailable upstream."""
        if self._reading is None:
            self._reading = asyncio.Lock()
        async with self._reading:
            await asyncio.gather(*(self._read(lanes[0]) for lanes in self.routing.table.lanes.values()))
            self._first.set()

    async def models(self) -> tuple[dict[str, Any], ...]:
        """Return aliases first, then the upstreams' models, newest first. Never raises for an unavailable upstream."""
        await self.refresh()
        table = self.routing.table
        if self._models is None or table is not self._table:
            lists = {name: self._lists[name].entries for name in table.lanes if name in self._lists}
            self._models, self._table = to_models(lists, table), table
        return self._models

    @property
    def unread(self) -> tuple[str, ...]:
        """The upstreams with lists that could not be read the last time: their models are old or missing."""
        return tuple(name for name, known in self._lists.items() if known.problem and name in self.routing.table.lanes)

    async def wait_for_first(self, seconds: float) -> None:
        """Wait until the lists have been requested once, with or without success; at most `seconds`."""
        with suppress(TimeoutError):
            # An upstream that is slow or away must not keep the gateway from starting.
            async with asyncio.timeout(seconds):
                await self._first.wait()

    async def find(self, model_id: str) -> dict[str, Any] | None:
        """Find a model by its id in the list, or by any name that routing maps onto a model of an upstream."""
        models = await self.models()
        by_id = {model["id"]: model for model in models}
        if model_id in by_id:
            return by_id[model_id]
        table = self.routing.table
        rule = table.rule_of(model_id)
        served = None if rule is None else self._lists.get(rule.candidates[0].upstream)
        name = table.to_upstream_model(model_id)
        entry = next((entry for entry in served.entries if entry["id"] == name), None) if served is not None else None
        return None if entry is None else {**to_model(entry), "id": model_id}

    async def _read(self, upstream: Upstream) -> None:
        now, known = self.clock(), self._lists.get(upstream.name)
        if known is None or (known.url, known.models) != (upstream.url, upstream.models):  # also after a reload
            entries = tuple(entries_of(upstream.models, ()))
            known = self._lists[upstream.name] = UpstreamList(upstream.url, upstream.models, entries)
        if now < known.next_read:
            return
        # After any failure too: never a read of the list for each request.
        known.next_read = now + (RETRY_SECONDS if known.entries else FIRST_RETRY_SECONDS)
        try:
            await self._read_from_upstream(upstream, known)
        except GatewayError as error:  # what was known before stays
            self.redactor.error(error)
            if error.message != known.problem:
                log.warning("models_unread", upstream=upstream.name, reason=error.message)
            known.problem = error.message
        else:
            known.problem = ""
            known.next_read = now + FRESH_SECONDS

    async def _read_from_upstream(self, upstream: Upstream, known: UpstreamList) -> None:
        """Raises GatewayError without a list, unless the configuration has one. A server that answers shows what it is
        even then.
        """
        try:
            listed, headers = await read_models(self.client, upstream)
        except UpstreamUnreachable:
            raise
        except GatewayError:
            await self._recognise(upstream, known, {}, [])
            if not upstream.models:
                raise
            listed, headers = [], {}
        else:
            await self._recognise(upstream, known, headers, listed)
        listed = [{**entry, **self._shown(entry)} for entry in listed]
        if upstream.models:
            listed = entries_of(upstream.models, listed)
        known.entries = tuple(listed)
        self.routing.learn(upstream.name, listed)

    def _shown(self, entry: Mapping[str, Any]) -> dict[str, str]:
        """Return the texts of an entry that clients see, without secrets; to redact all its prose takes a second."""
        texts = {field: entry[field][:MAX_ID_LENGTH] for field in SHOWN if isinstance(entry.get(field), str)}
        return {field: self.redactor.listed(text) for field, text in texts.items()}

    async def _recognise(
        self, upstream: Upstream, known: UpstreamList, headers: Mapping[str, str], listed: Iterable[Mapping[str, Any]]
    ) -> None:
        """Find out the vendor of a server, once, if neither the settings nor the host have named it."""
        if known.is_recognised or upstream.vendor is not COMPATIBLE:
            return
        vendor = await look_at(self.client, upstream, headers, listed)
        if vendor is not None:
            known.is_recognised = True
            self.routing.recognise(upstream.name, vendor)
            log.info("upstream_recognised", upstream=upstream.name, vendor=vendor.name)


async def read_models(client: UpstreamClient, upstream: Upstream) -> tuple[list[dict[str, Any]], Mapping[str, str]]:
    """The upstream's own list, as it is, and the header it came with. Raises GatewayError when it cannot be had."""
    answer = await client.open(Call("GET", upstream.url + "/models", upstream.headers, timeouts=TIMEOUTS))
    body = (await answer.read(MAX_LIST_BYTES)).removeprefix(BOM_UTF8)
    if answer.status != 200:
        raise UpstreamError("The upstream does not list its models.")
    return to_entries(body), answer.headers


def to_entries(body: bytes) -> list[dict[str, Any]]:
    """Return the entries that have an id, each id once. Raises UpstreamError if the body holds no list.

    The list is under `data` (OpenAI), `models` (Cohere, llama.cpp) or `result` (Cloudflare), or at the top (Together,
    GitHub Models). An entry may be a bare name, or have its id under `model` or `name`; one of any other form is left
    out, so that it cannot hide the others.
    """
    check_answer_values(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamError("The upstream's list of models cannot be read.") from None
    if isinstance(value, dict):
        value = next((value[name] for name in LISTS if name in value), "")
        value = [] if value is None else value  # an empty list as Go writes it
    if not isinstance(value, list):
        raise UpstreamError("The upstream's list of models cannot be read.")
    entries: dict[str, dict[str, Any]] = {}
    for item in value:
        entry = {"id": item} if isinstance(item, str) else item
        if not isinstance(entry, dict):
            continue
        identifier: Any = next((entry[name] for name in IDS if name in entry), None)
        if isinstance(identifier, str) and 0 < len(identifier) <= MAX_ID_LENGTH:
            entries.setdefault(identifier, entry if "id" in entry else {**entry, "id": identifier})
    return list(entries.values())


def entries_of(models: Iterable[str], listed: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the entry of each of these models; one with the id alone where the list has none."""
    by_id = {entry["id"]: entry for entry in listed}
    return [dict(by_id.get(model, {"id": model})) for model in models]


def to_models(lists: Mapping[str, Iterable[Mapping[str, Any]]], table: RoutingTable) -> tuple[dict[str, Any], ...]:
    """Return the names that clients can ask for. `lists`: entries by the upstream's name.

    A model is listed by its own name if that leads to the upstream that lists it, and by the names that routes with a
    `*` give it.
    """
    by_id: dict[str, dict[str, Any]] = {}
    models: dict[str, dict[str, Any]] = {}
    for name, entries in lists.items():
        for entry in entries:
            model = to_model(entry)
            by_id.setdefault(entry["id"], model)
            rule = table.rule_of(entry["id"])
            leads_here = rule is not None and any(one.upstream == name for one in rule.candidates)
            if leads_here and table.serves(entry["id"]):
                models.setdefault(entry["id"], model)
    for identifier, entry in islice(_renamed(lists, table), MAX_RENAMED):
        models.setdefault(identifier, to_model({**entry, "id": identifier}))
    aliases = []
    for alias, slug in table.aliases.items():
        if alias not in models and table.serves(alias):
            aliases.append(
                {**by_id.get(slug, to_model({"id": slug})), "id": alias, "display_name": f"{alias} ({slug})"}
            )
    return (*aliases, *sorted(models.values(), key=lambda model: model["created_at"], reverse=True))


def _renamed(
    lists: Mapping[str, Iterable[Mapping[str, Any]]], table: RoutingTable
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield names that lead to a listed model under another name, and its entry: of `"local/*" = "a/qwen/*"`."""
    candidates = [(rule, one) for rule in table.rules for one in rule.candidates if "*" in (one.model or "")]
    for rule, candidate in candidates:
        for entry in lists.get(candidate.upstream, ()):
            name = rule.name_for(candidate, entry["id"])
            if name is not None and table.rule_of(name) is rule and table.serves(name):
                yield name, entry


def to_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return Anthropic's Model object for an entry with an id; its other fields may have any type."""
    name = model.get("name")
    context, output = lengths_of(model)
    identifier = model["id"]
    described = {
        "type": "model",
        "id": identifier,
        "display_name": name if name and isinstance(name, str) else identifier,
        "created_at": _created_at(model.get("created")),
        "lifecycle": "active",
        "line": next((line for line in LINES if "claude" in identifier and line in identifier), None),
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": context,
        "max_tokens": output,
        "capabilities": _capabilities(model),
    }
    # Beyond Anthropic's object: dollars per token, as text. Other text, nested values too, could hold anything.
    listed = to_mapping(model.get("pricing"))
    pricing = {unit: price for unit, price in listed.items() if _is_price(price)}
    return described | ({"pricing": pricing} if pricing else {})


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and PRICE.fullmatch(value) is not None)


def _created_at(created: object) -> str:
    """RFC 3339, from seconds or milliseconds since 1970; 1970 itself where the entry has no usable time."""
    seconds = created if isinstance(created, int | float) else 0
    if seconds >= FIRST_MILLISECONDS:
        seconds /= 1000
    seconds = seconds if 0 <= seconds <= LAST_SECOND else 0
    return to_time(seconds)


def _capabilities(model: Mapping[str, Any]) -> dict[str, Any]:
    inputs = to_words(to_mapping(model.get("architecture")).get("input_modalities"))
    sees = sees_images(model)
    parameters = to_words(model.get("supported_parameters"))
    reasoning = to_mapping(model.get("reasoning"))
    thinks = bool(reasoning) or "reasoning" in parameters
    efforts = to_words(reasoning.get("supported_efforts"))
    return {
        "batch": _supported(True),
        "citations": _supported(False),
        "code_execution": _supported(False),
        "image_input": _supported(sees),
        "pdf_input": _supported("file" in inputs or sees),
        "structured_outputs": _supported("structured_outputs" in parameters or "response_format" in parameters),
        "context_management": {**_supported(True), **{edit: _supported(done) for edit, done in EDITS.items()}},
        "effort": {**_supported(bool(efforts)), **{effort: _supported(effort in efforts) for effort in EFFORTS}},
        "server_tools": {**_supported(False), "web_search": _supported(False), "code_execution": _supported(False)},
        "thinking": {
            **_supported(thinks),
            "types": {
                "adaptive": _supported(thinks),
                "between_tools": _supported(False),
                "disabled": _supported(not reasoning.get("mandatory", False)),
                "enabled": _supported(thinks),
            },
        },
    }


# Edits of a prompt that the gateway does for any model (`dialects.chat.request.context_editing`).
EDITS = {"clear_tool_uses_20250919": True, "clear_thinking_20251015": True, "compact_20260112": False}


def _supported(value: bool) -> dict[str, Any]:
    return {"supported": value}
