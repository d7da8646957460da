"""GET /.well-known/opencode: the configuration with which opencode uses this gateway, and the command that signs in.

`opencode auth login URL` runs the command, keeps its output as the key, and merges the configuration into its own.
Addresses are the gateway's own, and nothing in the command comes from a request.
"""

from typing import Any, Final

from aiohttp import web

from gateway.web.api.oauth import NEVER_CACHED, base_url
from gateway.web.app_keys import EXCHANGE
from gateway.web.reply import json_response

KEY_VARIABLE: Final = "DRAGOMAN_API_KEY"
PROVIDER: Final = "dragoman"


async def show_client_setup(request: web.Request) -> web.Response:
    base, table = base_url(request), request.app[EXCHANGE].table
    names = [rule.pattern for rule in table.rules if rule.is_exact] or sorted(table.aliases)
    provider: dict[str, Any] = {
        "npm": "@ai-sdk/anthropic",
        "name": "Dragoman",
        "options": {"baseURL": f"{base}/v1", "apiKey": f"{{env:{KEY_VARIABLE}}}"},
        "models": {name: {"name": name} for name in names},
    }
    config: dict[str, Any] = {"provider": {PROVIDER: provider}}
    if names:
        config["model"] = f"{PROVIDER}/{names[0]}"
    auth = {"command": ["dragoman", "login", base], "env": KEY_VARIABLE}
    return json_response({"auth": auth, "config": config}, headers=NEVER_CACHED)
