"""Agent loop on the official Python SDK: MODE BASE_URL MODEL PROMPT. Modes chat, chat-json, responses, responses-json, models."""

import json
import subprocess
import sys

from openai import OpenAI

PARAMETERS = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
FLAT = {
    "type": "function",
    "name": "bash",
    "description": "Run a shell command.",
    "strict": False,
    "parameters": PARAMETERS,
}
NESTED = {
    "type": "function",
    "function": {"name": "bash", "description": "Run a shell command.", "parameters": PARAMETERS},
}


def bash(arguments):
    done = subprocess.run(["bash", "-c", json.loads(arguments)["command"]], capture_output=True, text=True)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else "exit status %d" % done.returncode)


def chat(client, model, prompt, stream):
    messages = [{"role": "developer", "content": "Use the tools."}, {"role": "user", "content": prompt}]
    for _ in range(40):
        if stream:
            with client.chat.completions.stream(
                model=model, messages=messages, tools=[NESTED], stream_options={"include_usage": True}
            ) as events:
                for _ in events:
                    pass
                answer = events.get_final_completion()
            assert answer.usage and answer.usage.total_tokens > 0, "no usage though include_usage was asked for"
        else:
            answer = client.chat.completions.create(model=model, messages=messages, tools=[NESTED])
            assert answer.usage and answer.usage.prompt_tokens > 0, "no usage"
        choice = answer.choices[0]
        calls = choice.message.tool_calls or []
        assert choice.finish_reason == ("tool_calls" if calls else "stop"), choice.finish_reason
        assert answer.model and answer.id and answer.object == "chat.completion", answer
        if not calls:
            return choice.message.content
        messages.append(
            {
                "role": "assistant",
                "content": choice.message.content,
                "tool_calls": [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.function.name, "arguments": call.function.arguments},
                    }
                    for call in calls
                ],
            }
        )
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": bash(call.function.arguments)} for call in calls
        ]
    raise SystemExit("no end after 40 turns")


def responses(client, model, prompt, stream):
    items = [{"role": "user", "content": prompt}]
    for _ in range(40):
        asked = dict(
            model=model,
            instructions="Use the tools.",
            input=items,
            tools=[FLAT],
            store=False,
            include=["reasoning.encrypted_content"],
        )
        if stream:
            numbers = []
            with client.responses.stream(**asked) as events:
                for event in events:
                    numbers.append(event.sequence_number)
                answer = events.get_final_response()
            assert numbers == sorted(numbers) and len(set(numbers)) >= len(numbers) // 2, "sequence numbers fall"
        else:
            answer = client.responses.create(**asked)
        assert answer.status == "completed" and answer.usage.total_tokens > 0, answer
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return answer.output_text
        for item in answer.output:
            assert item.id, "an item without id"
        items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output]
        items += [
            {"type": "function_call_output", "call_id": call.call_id, "output": bash(call.arguments)} for call in calls
        ]
    raise SystemExit("no end after 40 turns")


def models(client):
    """One answer must serve the OpenAI SDK, the Anthropic SDK and Codex."""
    page = client.models.list()
    assert page.object == "list" and page.data, page
    for model in page.data:
        assert model.id and model.object == "model" and isinstance(model.created, int) and model.owned_by, model
    raw = client.get("/models", cast_to=object)
    for entry in raw["data"]:
        assert entry["type"] == "model" and entry["display_name"] and entry["created_at"], (
            "Anthropic's fields are missing: %s" % entry
        )
    assert {"has_more", "first_id", "last_id"} <= set(raw), "Anthropic's page fields are missing"
    catalog = client.get("/models", cast_to=object, options={"params": {"client_version": "0.171.0"}})
    needed = {
        "slug",
        "display_name",
        "supported_reasoning_levels",
        "shell_type",
        "visibility",
        "supported_in_api",
        "priority",
        "support_verbosity",
        "truncation_policy",
        "experimental_supported_tools",
        "base_instructions",
    }
    for entry in catalog["models"]:
        assert needed <= set(entry), "Codex needs %s" % sorted(needed - set(entry))
    return "FINISHED"


def main():
    mode, base, model, prompt = sys.argv[1:5]
    client = OpenAI(base_url=base, max_retries=1)
    if mode == "models":
        print(models(client))
    else:
        print((chat if mode.startswith("chat") else responses)(client, model, prompt, not mode.endswith("-json")))


main()
