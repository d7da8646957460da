"""Settings to the upstream and its routing table."""

from gateway.settings import Settings
from gateway.upstream.routing import Upstream, UpstreamTimeouts
from gateway.upstream.table import RoutingTable, one_upstream_table


def to_upstream(settings: Settings) -> Upstream:
    vendor = settings.vendor
    key = settings.upstream_api_key.get_secret_value() if settings.upstream_api_key else ""
    headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")]
    if key and vendor.auth == "api-key":
        headers.append(("api-key", key))
    elif key and vendor.auth == "x-api-key":
        headers += [("x-api-key", key), ("anthropic-version", "2023-06-01")]
    elif key:
        headers.append(("authorization", f"Bearer {key}"))
    if vendor.flavor == "openrouter":
        headers.append(("x-title", settings.app_title))
        if settings.app_url:
            headers.append(("http-referer", settings.app_url))
    timeouts = UpstreamTimeouts(
        settings.connect_timeout, None, None, idle=settings.idle_timeout, total=settings.total_timeout
    )
    return Upstream(
        settings.upstream_label, settings.base_url, key, vendor, tuple(headers), settings.dialect, timeouts=timeouts
    )


def to_table(settings: Settings, upstream: Upstream) -> RoutingTable:
    """`big` and `small`, and the family names that Claude clients use for them, unless the aliases say otherwise.

    Their defaults are OpenRouter's slugs: another server gets such a name only if the operator has set its model.
    """
    families = {"model_big": ("big", "sonnet", "opus"), "model_small": ("small", "haiku")}
    means_something = upstream.vendor.flavor == "openrouter"
    aliases = {
        alias: getattr(settings, name)
        for name, names in families.items()
        if means_something or name in settings.model_fields_set
        for alias in names
    } | dict(settings.aliases)
    return one_upstream_table(
        upstream,
        aliases,
        local_stops=settings.stop_sequences == "gateway",
        strict_fallback=settings.strict_fallback == "on",
    )
