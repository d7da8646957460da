"""The task on the OpenAI Agents SDK: MODE BASE_URL MODEL PROMPT. Modes chat, chat-json, responses, responses-json."""

import asyncio
import subprocess
import sys

from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI


@function_tool
def bash(command: str) -> str:
    """Run a shell command."""
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else "exit status %d" % done.returncode)


async def main():
    mode, base, model, prompt = sys.argv[1:5]
    set_tracing_disabled(True)
    kind = OpenAIChatCompletionsModel if mode.startswith("chat") else OpenAIResponsesModel
    agent = Agent(
        name="scripted",
        instructions="Use the tools.",
        tools=[bash],
        model=kind(model=model, openai_client=AsyncOpenAI(base_url=base, max_retries=1)),
    )
    if mode.endswith("-json"):
        result = await Runner.run(agent, prompt, max_turns=40)
    else:
        result = Runner.run_streamed(agent, prompt, max_turns=40)
        async for _ in result.stream_events():
            pass
    print(result.final_output)


asyncio.run(main())
