"""Instructions of the steps of one request: the gateway's own functions, each called repeatedly by itself.

Run as a program under callgrind (`python -m bench.steps BODY FILE`) it prints JSON; `steps_of` runs it so.
"""

import gc
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import structlog

from bench.callgrind import Counter, under_callgrind
from bench.cases import BODIES
from gateway.access.keyring import Keyring
from gateway.context import Context
from gateway.dialects.chat.dialect import ChatDialect
from gateway.dialects.chat.response.convert import to_message
from gateway.exchange.exchange import Exchange
from gateway.messages.prompt import parse_body, to_prompt
from gateway.telemetry.activity import Activity
from gateway.telemetry.activity_store import LocalActivity
from gateway.telemetry.counters import observe
from gateway.telemetry.log_writer import LogWriter
from gateway.telemetry.logs import configure_logs, log_exchange
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.http.http_client import Transport
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import Routing, one_upstream_table
from gateway.web.reply import MESSAGE_HEADERS, id_lines, to_head

STEP_BODIES = ("small", "code")
WARM, COUNTED = 60, 200
# What each exchange pays to be seen: its log line, its metrics, the console.
SEEING = ("log line", "metrics", "count for the console")
COMPLETION = {
    "id": "gen-1",
    "provider": "Stand-in",
    "model": "plain-1",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "native_finish_reason": "stop",
            "message": {"role": "assistant", "content": "Hello. " * 100},
        }
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 300, "total_tokens": 312, "cost": 0.0001},
}


def steps_of(body: str, directory: Path) -> dict[str, float]:
    """Step → instructions a call. Raises StartError without valgrind."""
    out = directory / f"steps-{body}"
    command = under_callgrind(f"{shlex.quote(sys.executable)} -m bench.steps {body} {shlex.quote(str(out))}", out)
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
    counts: dict[str, float] = json.loads(done.stdout)
    return counts


def main(body: str, out: Path) -> None:
    gc.disable()
    configure_logs("info", "json")
    output = LogWriter(len, lambda _: b"")
    structlog.configure(logger_factory=lambda *_: output)
    counter = Counter(os.getpid(), out)
    overhead = _counted(counter, lambda: None)
    counts = {name: _counted(counter, step) - overhead for name, step in _steps(body).items()}
    print(json.dumps(counts))


def _counted(counter: Counter, step: Callable[[], Any]) -> float:
    for _ in range(WARM):
        step()
    counter.begin()
    for _ in range(COUNTED):
        step()
    return counter.end() / COUNTED


def _steps(name: str) -> dict[str, Callable[[], Any]]:
    raw, answer = orjson.dumps(BODIES[name]()), orjson.dumps(COMPLETION)
    context = Context("req_0", "bench", "key")
    keyring = Keyring((("k", b"k" * 32),))
    table = one_upstream_table(Upstream("upstream", "http://127.0.0.1:1/api/v1"))
    exchange = Exchange(Transport(), Routing(table), keyring, {"chat": ChatDialect(keyring)})
    for _ in range(3):  # an agent sends the same tools with every request: from the third on they are known
        prompt = to_prompt(parse_body(raw, exchange.tools), len(raw), context)
        plan = exchange.plan(context, prompt, UsageRecord(context))
    answered = to_message(orjson.loads(answer), plan.reply)
    finished = finished_record(plan.record)
    own = id_lines("req_0")
    activity = Activity(LocalActivity(), "front end")
    return {
        "parse the request": lambda: parse_body(raw, exchange.tools),
        "check it": lambda: to_prompt(prompt.request, len(raw), context),
        "route, convert and write it": lambda: exchange.plan(context, prompt, UsageRecord(context)),
        "parse the answer": lambda: orjson.loads(answer),
        "convert it": lambda: to_message(COMPLETION, plan.reply),
        "write it": lambda: orjson.dumps(answered.message),
        "write the reply's header": lambda: to_head(MESSAGE_HEADERS, own),
        "log line": lambda: log_exchange(finished),
        "metrics": lambda: observe(finished),
        "count for the console": lambda: activity.observe(finished),
    }


def finished_record(record: UsageRecord) -> UsageRecord:
    """Return the record with what the answer and the clock add to it."""
    answer = {"served_model": "plain-1", "provider": "Stand-in", "generation_id": "gen-1", "stop_reason": "end_turn"}
    counts = {"input_tokens": 12, "output_tokens": 300, "attempts": 1, "cost": 0.0001}
    times = {"header_seconds": 0.0041, "first_content_seconds": 0.0054, "duration_seconds": 0.01234}
    return replace(record, **answer, **counts, **times)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
