#!/usr/bin/env python3
"""Run real coding agents and SDKs headless against one server and check that each finished its task.

    python tests/clients/upstream.py --port 8901 &                # the scripted model
    # start the gateway with http://127.0.0.1:8901/v1 as its upstream, then
    python tests/clients/run.py --base-url http://127.0.0.1:8080 --key KEY --model NAME --upstream http://127.0.0.1:8901

Each client gets an empty home and an empty folder, and the prompt names a file in it. The scripted model then asks for
shell commands, a write, a read, an edit, two calls at once and a failing command, with the client's own tools. A run
passes if the client exits with 0 in time, the files hold what the script wrote, and the last words arrived. With
--upstream, the conversation that reached the model is checked as well: each tool call answered once, in order.

--only REGEX, --skip REGEX, --list; --install-only, --no-install; --timeout SECONDS; --jobs N; --json FILE; -v prints what a failed client wrote.
Clients are installed into $CLIENTS_CACHE, or a folder in the temporary directory. One line a case, then
`N passed, N failed, N skipped`; the exit status is 1 if a case failed.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
DRIVERS = os.path.join(HERE, "drivers")
PROMPT = "Create FILE=%s with the word hi, read it back, then follow the tools."
FIRST, SECOND = "hi there\n", 'line "quoted" \\ back\u00e9\n'

NPM = {
    "codex": ["@openai/codex@0.171.0"],
    "opencode": ["opencode-ai@1.18.33"],
    "qwen": ["@qwen-code/qwen-code@0.24.4"],
    "cline": ["cline@3.0.65"],
    "cn": ["@continuedev/cli@1.5.47"],
    "node-sdk": ["openai@7.59.0", "ai@6.0.326", "@ai-sdk/openai-compatible@2.0.92", "@ai-sdk/openai@3.0.141"],
    "anthropic-node": ["@anthropic-ai/sdk@1.14.0", "zod@4.1.12"],
    "node": ["node@22"],
}
PIP = {
    "aider": ["aider-chat==0.86.2"],
    "python-sdk": ["openai==3.57.0", "openai-agents==0.24.0"],
    "anthropic-python": ["anthropic==2.14.0"],
}

# ---------------------------------------------------------------- clients: name -> (package, what it shows, command builder)

CASES = {}


def case(name, package, shows):
    def keep(function):
        CASES[name] = (package, shows, function)
        return function

    return keep


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text if isinstance(text, str) else json.dumps(text))
    return path


def npm_bin(package, name):
    return os.path.join(o.cache, package, "node_modules", ".bin", name)


def codex(place, catalog=None, provider=(), builtin=False):
    """Codex CLI: its own provider table; a local catalog decides which tool shapes it sends for our model name."""
    home = place.home + "/.codex"
    lines = ['model = "%s"' % o.model, 'approval_policy = "never"', 'sandbox_mode = "danger-full-access"']
    if catalog:
        entry = {
            "slug": o.model,
            "display_name": "Scripted",
            "supported_reasoning_levels": [{"effort": "low", "description": "low"}],
            "shell_type": "unified_exec",
            "visibility": "list",
            "supported_in_api": True,
            "priority": 1,
            "support_verbosity": True,
            "truncation_policy": {"mode": "tokens", "limit": 10000},
            "experimental_supported_tools": [],
            "base_instructions": "Use the tools.",
            "context_window": 200000,
            "supports_parallel_tool_calls": True,
            **catalog,
        }
        lines.append('model_catalog_json = "%s"' % write(home + "/catalog.json", {"models": [entry]}))
    if builtin:
        lines.append('openai_base_url = "%s/v1"' % o.base)
    else:
        lines += [
            'model_provider = "gateway"',
            "[model_providers.gateway]",
            'name = "Gateway"',
            'base_url = "%s/v1"' % o.base,
            'env_key = "GATEWAY_KEY"',
            'wire_api = "responses"',
            *provider,
        ]
    write(home + "/config.toml", "\n".join(lines) + "\n")
    return [npm_bin("codex", "codex"), "exec", "--skip-git-repo-check", place.prompt], {
        "CODEX_HOME": home,
        "CODEX_API_KEY" if builtin else "GATEWAY_KEY": o.key,
    }


@case("codex", "codex", "Responses: functions, a namespace, hosted web_search")
def codex_plain(place):
    return codex(place)


@case("codex-patch", "codex", "Responses: apply_patch as a custom (grammar) tool, tool_search, verbosity")
def codex_patch(place):
    return codex(
        place,
        {
            "apply_patch_tool_type": "freeform",
            "supports_search_tool": True,
            "default_verbosity": "low",
            "default_reasoning_level": "low",
        },
    )


@case("codex-code", "codex", "Responses: additional_tools in the input, exec as a custom tool in a namespace")
def codex_code(place):
    return codex(
        place,
        {
            "apply_patch_tool_type": "freeform",
            "tool_mode": "code_mode_only",
            "use_responses_lite": True,
            "supports_search_tool": True,
        },
    )


@case("codex-catalog", "codex", "GET /v1/models?client_version=… holds a catalog that Codex takes")
def codex_catalog(place):
    return codex(place, provider=['model_catalog_url = "%s/v1/models"' % o.base])


@case("codex-builtin", "codex", "openai_base_url: a WebSocket is asked for first and must be refused with 426")
def codex_builtin(place):
    return codex(place, builtin=True)


def opencode(place, package):
    provider = {
        "npm": package,
        "name": "Gateway",
        "options": {"baseURL": o.base + "/v1", "apiKey": o.key},
        "models": {o.model: {"name": o.model}},
    }
    write(
        place.home + "/.config/opencode/opencode.json",
        {
            "model": "gateway/" + o.model,
            "autoupdate": False,
            "share": "disabled",
            "permission": {"*": "allow"},
            "provider": {"gateway": provider},
        },
    )
    switches = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS")
    return [npm_bin("opencode", "opencode"), "run", "--format", "json", place.prompt], {
        "OPENCODE_DISABLE_" + name: "1" for name in switches
    }


@case("opencode", "opencode", "chat completions")
def opencode_chat(place):
    return opencode(place, "@ai-sdk/openai-compatible")


@case("opencode-responses", "opencode", "Responses: system role in the input, items without type or id")
def opencode_responses(place):
    return opencode(place, "@ai-sdk/openai")


@case("opencode-messages", "opencode", "Anthropic Messages")
def opencode_messages(place):
    return opencode(place, "@ai-sdk/anthropic")


@case("aider", "aider", "chat completions without tools: edits in the text")
def aider(place):
    flags = [
        "--yes-always",
        "--no-git",
        "--no-check-update",
        "--analytics-disable",
        "--no-show-model-warnings",
        "--no-show-release-notes",
        "--no-auto-commits",
        "--no-pretty",
    ]
    return [
        os.path.join(o.cache, "aider", "bin", "aider"),
        "--model",
        "openai/" + o.model,
        "--message",
        place.prompt,
        *flags,
        os.path.basename(place.file),
    ], {"OPENAI_API_BASE": o.base + "/v1", "OPENAI_API_KEY": o.key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


@case("qwen", "qwen", "chat completions: content as parts, tool messages as parts")
def qwen(place):
    write(
        place.home + "/.qwen/settings.json",
        {
            "telemetry": {"enabled": False},
            "privacy": {"usageStatisticsEnabled": False},
            "general": {"enableAutoUpdate": False},
            "security": {"auth": {"selectedType": "openai"}},
        },
    )
    proxies = {
        name: "" for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    }  # it sends loopback traffic to a proxy too
    return [npm_bin("qwen", "qwen"), "--yolo", "-p", place.prompt], {
        "OPENAI_BASE_URL": o.base + "/v1",
        "OPENAI_API_KEY": o.key,
        "OPENAI_MODEL": o.model,
        **proxies,
    }


@case("cline", "cline", "chat completions: content null, reasoning_content sent back")
def cline(place):
    exe, data = npm_bin("cline", "cline"), place.home + "/cline"
    script = 'set -e; "$1" auth -p openai -k "$2" -m "$3" -b "$4" --data-dir "$5" </dev/null >"$5.auth" 2>&1; exec "$1" --data-dir "$5" -P openai -m "$3" --json "$6"'
    return ["bash", "-c", script, "cline", exe, o.key, o.model, o.base + "/v1", data, place.prompt], {
        "CLINE_TELEMETRY_DISABLED": "1",
        "CLINE_NO_AUTO_UPDATE": "1",
    }


@case("continue", "cn", "chat completions: no reasoning sent back")
def continue_cli(place):
    config = write(
        place.home + "/continue.yaml",
        "name: local\nversion: 1.0.0\nschema: v1\nmodels:\n  - name: scripted\n    provider: openai\n    model: %s\n    apiBase: %s/v1\n"
        "    apiKey: %s\n    roles: [chat, edit, apply]\n    capabilities: [tool_use]\n"
        % (json.dumps(o.model), o.base, o.key),
    )
    return [npm_bin("cn", "cn"), "--config", config, "--auto", "-p", place.prompt], {
        "CONTINUE_TELEMETRY_ENABLED": "0",
        "CI": "1",
    }


def python_driver(name, mode):
    def build(place):
        return [
            os.path.join(o.cache, "python-sdk", "bin", "python"),
            os.path.join(DRIVERS, name),
            mode,
            o.base + "/v1",
            o.model,
            place.prompt,
        ], {"OPENAI_API_KEY": o.key, "OPENAI_AGENTS_DISABLE_TRACING": "1"}

    return build


def node_driver(name, mode):
    def build(place):
        return [
            "node",
            os.path.join(DRIVERS, name),
            mode,
            o.base + "/v1",
            o.model,
            place.prompt,
            os.path.join(o.cache, "node-sdk", "node_modules"),
        ], {"OPENAI_API_KEY": o.key}

    return build


for mode in ("chat", "chat-json", "responses", "responses-json"):
    CASES["python-" + mode] = (
        "python-sdk",
        "official Python SDK, its accumulating stream helper"
        if "json" not in mode
        else "official Python SDK, no stream",
        python_driver("sdk.py", mode),
    )
    CASES["agents-" + mode] = ("python-sdk", "OpenAI Agents SDK", python_driver("agents_sdk.py", mode))
for mode in ("chat", "responses"):
    CASES["node-" + mode] = (
        "node-sdk",
        "official npm SDK, its accumulating stream helper",
        node_driver("sdk.mjs", mode),
    )
    CASES["ai-" + mode] = ("node-sdk", "AI SDK (the parser inside opencode, Cline, Kilo)", node_driver("ai.mjs", mode))
CASES["python-models"] = (
    "python-sdk",
    "GET /v1/models through the Python SDK, with Codex' and Anthropic's fields",
    python_driver("sdk.py", "models"),
)


@case("anthropic-python", "anthropic-python", "Anthropic's Python SDK, each helper; needs --roles")
def anthropic_python(place):
    python = os.path.join(o.cache, "anthropic-python", "bin", "python")
    return [python, os.path.join(DRIVERS, "anthropic_sdk.py"), o.base, o.key, o.roles], {}


@case("anthropic-node", "anthropic-node", "Anthropic's npm SDK, each helper; needs --roles")
def anthropic_node(place):
    modules = os.path.join(o.cache, "anthropic-node", "node_modules")
    return ["node", os.path.join(DRIVERS, "anthropic_sdk.mjs"), o.base, o.key, o.roles, modules], {}


# Cases that run a whole program of checks, and print those that failed.
PROGRAMS = ("anthropic-python", "anthropic-node")

# ---------------------------------------------------------------- running one


class Place:
    def __init__(self, name):
        self.root = tempfile.mkdtemp(prefix="clients-%s-" % name)
        self.home, self.work = self.root + "/home", os.path.realpath(self.root) + "/work"
        os.makedirs(self.home)
        os.makedirs(self.work)
        self.file = self.work + "/hello.txt"
        self.prompt = PROMPT % self.file


def environment(place, extra):
    path = os.path.join(o.cache, "node", "node_modules", ".bin") + os.pathsep + os.environ["PATH"]
    closed = "http://127.0.0.1:9"  # address for the clients' own reports
    return {
        "PATH": path,
        "HOME": place.home,
        "TMPDIR": place.root,
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "DO_NOT_TRACK": "1",
        "HTTP_PROXY": closed,
        "HTTPS_PROXY": closed,
        "http_proxy": closed,
        "https_proxy": closed,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **extra,
    }


def execute(name):
    place = Place(name)
    try:
        command, extra = CASES[name][2](place)
        started = time.time()
        process = subprocess.Popen(
            command,
            cwd=place.work,
            env=environment(place, extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=o.timeout)
            status = process.returncode
        except subprocess.TimeoutExpired:
            status = "no end within %d s" % o.timeout
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if isinstance(status, str):
            output = process.communicate()[0]
        faults = judge(name, place, status, output)
        return name, faults, output, time.time() - started
    finally:
        shutil.rmtree(place.root, ignore_errors=True)


def content(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def judge(name, place, status, output):
    faults = []
    if name in PROGRAMS:
        found = re.findall(r"^FAIL (.{0,400})", output, re.MULTILINE)
        return found or ([] if status == 0 else ["exit status %s" % status])
    if status != 0:
        faults.append("exit status %s" % status)
    if name.endswith("-models"):
        return faults
    if (content(place.file) or "").strip() != FIRST.strip():
        faults.append("hello.txt holds %r" % content(place.file))
    if name != "aider" and (content(place.file + ".second") or "").strip() != SECOND.strip():
        faults.append("hello.txt.second holds %r" % content(place.file + ".second"))
    if "FINISHED" not in output:
        faults.append("the last words are missing")
    if name == "codex-catalog" and ("failed to refresh available models" in output or "Model metadata for" in output):
        faults.append(
            "the catalog was not taken: "
            + (re.findall(r"failed to decode[^\n]{0,120}", output) or ["the model is not in it"])[0]
        )
    if name == "codex-builtin" and output.count("failed to connect to Responses WebSocket") > 1:
        faults.append("the WebSocket was tried %d times" % output.count("failed to connect to Responses WebSocket"))
    if o.upstream and name != "aider":
        faults += conversation_faults(place)
    return faults


def conversation_faults(place):
    """Look at the last request that the scripted model saw for this file, in the dialect that the gateway used."""
    with urllib.request.urlopen(o.upstream + "/_requests") as answer:
        bodies = [
            entry["body"]
            for entry in json.load(answer)
            if isinstance(entry["body"], dict) and place.file in json.dumps(entry["body"])
        ]
    bodies = [
        body
        for body in bodies
        if body.get("tools")
        or any(item.get("type") == "additional_tools" for item in body.get("input") or [] if isinstance(item, dict))
    ]
    if not bodies:
        return ["the scripted model saw no request with tools"]
    body = bodies[-1]
    calls, results = [], []
    for item in body.get("input") if isinstance(body.get("input"), list) else []:
        kind = item.get("type") or ""
        (calls if kind.endswith("_call") else results if kind.endswith("_output") else []).append(item.get("call_id"))
    for message in body.get("messages") or []:
        calls += [call.get("id") for call in message.get("tool_calls") or []]
        if message.get("role") == "tool":
            results.append(message.get("tool_call_id"))
        for block in message.get("content") if isinstance(message.get("content"), list) else []:
            if block.get("type") == "tool_use":
                calls.append(block.get("id"))
            if block.get("type") == "tool_result":
                results.append(block.get("tool_use_id"))
    faults = []
    if len(calls) < 8:
        faults.append("%d tool calls in the last request" % len(calls))
    if sorted(map(str, calls)) != sorted(map(str, results)):
        faults.append("calls and results differ: %s" % sorted(set(map(str, calls)) ^ set(map(str, results))))
    if len(set(calls)) != len(calls):
        faults.append("a call id came twice")
    return faults


# ---------------------------------------------------------------- installing


def install(package):
    """Install one package set; return None or the error."""
    place = os.path.join(o.cache, package)
    mark = os.path.join(place, ".installed")
    wanted = " ".join(NPM.get(package) or PIP[package])
    if content(mark) == wanted:
        return None
    if o.no_install:
        return "not installed"
    os.makedirs(place, exist_ok=True)
    if package in NPM:
        env = dict(
            os.environ, PATH=os.path.join(o.cache, "node", "node_modules", ".bin") + os.pathsep + os.environ["PATH"]
        )
        steps = [["npm", "init", "-y"], ["npm", "install", "--no-audit", "--no-fund", *NPM[package]]]
    else:
        env = dict(os.environ)
        steps = [
            [sys.executable, "-m", "venv", place],
            [os.path.join(place, "bin", "pip"), "install", "-q", *PIP[package]],
        ]
    for step in steps:
        done = subprocess.run(
            step,
            cwd=place,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            return "%s failed: %s" % (" ".join(step[:3]), done.stdout[-300:].replace("\n", " "))
    write(mark, wanted)
    return None


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", dest="base", default="http://127.0.0.1:8901", help="the server, without /v1")
    parser.add_argument("--key", default="sk-clients")
    parser.add_argument("--model", default="scripted-model")
    parser.add_argument("--upstream", default="", help="address of upstream.py, to check what reached the model")
    parser.add_argument("--roles", default="", help="models and prompts for the programs of checks, as JSON")
    parser.add_argument("--only", default="")
    parser.add_argument("--skip", default="")
    parser.add_argument("--timeout", type=int, default=240)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--no-install", action="store_true")
    parser.add_argument("--install-only", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", default="")
    parser.add_argument("-v", dest="verbose", action="store_true")
    found = parser.parse_args()
    found.base, found.upstream = found.base.rstrip("/"), found.upstream.rstrip("/")
    found.cache = os.path.abspath(
        os.environ.get("CLIENTS_CACHE") or os.path.join(tempfile.gettempdir(), "clients-cache")
    )
    return found


def main():
    names = [
        name
        for name in CASES
        if (not o.only or re.search(o.only, name))
        and not (o.skip and re.search(o.skip, name))
        and (name in PROGRAMS) == bool(o.roles)
    ]
    if o.list:
        for name in names:
            print("%-20s %s" % (name, CASES[name][1]))
        return 0
    missing = {}
    for package in ["node", *sorted({CASES[name][0] for name in names})]:
        fault = install(package)
        if fault:
            missing[package] = fault
    if o.install_only:
        for package, fault in missing.items():
            print("%s: %s" % (package, fault))
        return 1 if missing else 0
    rows = []
    for name in names:
        if CASES[name][0] in missing:
            rows.append(
                {
                    "case": name,
                    "result": "skip" if o.no_install else "FAIL",
                    "faults": [missing[CASES[name][0]]],
                    "seconds": 0,
                }
            )
            print("%-4s %-20s %s" % (rows[-1]["result"], name, missing[CASES[name][0]]), flush=True)
    ready = [name for name in names if CASES[name][0] not in missing]
    with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
        for name, faults, output, took in pool.map(execute, ready):
            rows.append(
                {"case": name, "result": "FAIL" if faults else "ok", "faults": faults, "seconds": round(took, 1)}
            )
            print("%-4s %-20s %5.1f s  %s" % (rows[-1]["result"], name, took, "; ".join(faults)), flush=True)
            if faults and o.verbose:
                print("     | " + output[-3000:].replace("\n", "\n     | "), flush=True)
    if o.json:
        write(os.path.abspath(o.json), rows)
    count = {word: sum(row["result"] == word for row in rows) for word in ("ok", "FAIL", "skip")}
    print("%d passed, %d failed, %d skipped" % (count["ok"], count["FAIL"], count["skip"]))
    return 1 if count["FAIL"] or not count["ok"] else 0


if __name__ == "__main__":
    o = options()
    sys.exit(main())
