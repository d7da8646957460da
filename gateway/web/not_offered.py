"""Other APIs of Anthropic and OpenAI, named in the 404 of their paths.

A client that calls `client.beta.files.list()` learns that the gateway lacks this API, not that its base address is
wrong. A test compares the tables with every path in the official SDKs.
"""

from collections.abc import Iterable
from typing import Final

# First segment after /v1/ → name of the API, as Anthropic's documentation titles it. From the Python SDK 2.14 and the
# TypeScript SDK 1.14 (2026-11).
NOT_OFFERED: Final = {
    "agents": "Agents API",
    "complete": "Text Completions API",
    "compliance": "Compliance API",
    "deployment_runs": "Deployment Runs API",
    "deployments": "Deployments API",
    "dreams": "Dreams API",
    "environments": "Environments API",
    "experimental": "Prompt Tools API",
    "files": "Files API",
    "memory_stores": "Memory Stores API",
    "organizations": "Admin API",
    "projects": "Projects API",
    "sessions": "Sessions API",
    "skills": "Skills API",
    "tunnels": "Tunnels API",
    "user_profiles": "User Profiles API",
    "vaults": "Vaults API",
}

# The same for OpenAI's, from its Python SDK 3.57 (2026-11). Names that both have are above.
OPENAIS_NOT_OFFERED: Final = {
    "assistants": "Assistants API",
    "audio": "Audio API",
    "batches": "Batch API of OpenAI",
    "chatkit": "ChatKit API",
    "completions": "Completions API",
    "containers": "Containers API",
    "content_provenance_checks": "Content Provenance API",
    "conversations": "Conversations API",
    "decisions": "Decisions API",
    "embeddings": "Embeddings API",
    "evals": "Evals API",
    "fine_tuning": "Fine-tuning API",
    "images": "Images API",
    "live": "Live API",
    "moderations": "Moderations API",
    "organization": "Administration API of OpenAI",
    "realtime": "Realtime API",
    "safety": "Safety API",
    "threads": "Assistants API",
    "uploads": "Uploads API",
    "vector_stores": "Vector Stores API",
    "videos": "Videos API",
    "webhook_endpoints": "Webhooks API",
    "webhook_event_types": "Webhooks API",
}

# What to do instead, where the gateway has another way.
INSTEAD: Final = {
    "batches": " Use POST /v1/messages/batches, which takes requests in Anthropic's form.",
    "complete": " Use POST /v1/messages.",
    "completions": " Use POST /v1/chat/completions.",
    "conversations": " Use POST /v1/responses with the whole conversation.",
    "files": " Send files within messages, as base64 or text.",
    "organizations": " Parts of it are on the admin listener.",
}


ADMIN: Final = "/v1/organizations/"


def not_found_message(path: str, resources: Iterable[str] = ()) -> str:
    """Return the message of a 404. `resources`: those of the Admin API that the listener has."""
    _, version, name, rest, *_ = (*path.split("/", 3), "", "", "")
    api = (NOT_OFFERED.get(name) or OPENAIS_NOT_OFFERED.get(name)) if version == "v1" else None
    if api is None:
        return "Not found: there is no such path in this API."
    offered, resource = sorted(resources), rest.partition("/")[0]
    if name == "organizations" and offered:
        if resource in offered:
            return f"Not found: there is no such path below {resource} in the Admin API of this gateway."
        return f"The Admin API of this gateway has no {resource[:80]!r}. It has {', '.join(offered)}."
    return f"The {api} is not offered by this gateway.{INSTEAD.get(name, '')}"


def admin_resources(paths: Iterable[str]) -> set[str]:
    """Return the resources of the Admin API among the paths of routes."""
    return {path.removeprefix(ADMIN).partition("/")[0] for path in paths if path.startswith(ADMIN)}
