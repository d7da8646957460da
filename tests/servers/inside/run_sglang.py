"""Run SGLang's server.

SGLang's parser takes each answer for reasoning when the template knows `enable_thinking`. Here the mark in the last
user text determines whether the scripted model thinks.
"""

import runpy
import sys

from sglang.srt.entrypoints.openai import serving_chat


def is_reasoning(self, request):
    last = ""
    for message in getattr(request, "messages", None) or []:
        role, content = getattr(message, "role", None), getattr(message, "content", None)
        if role == "tool":
            last = ""
        elif role == "user":
            parts = (
                [content] if isinstance(content, str) else [getattr(part, "text", "") or "" for part in content or []]
            )
            last = " ".join(parts)
    template_arguments = getattr(request, "chat_template_kwargs", None) or {}
    return template_arguments.get("enable_thinking") is not False and ("#think" in last or "#longthink" in last)


serving_chat.OpenAIServingChat._get_reasoning_from_request = is_reasoning
if __name__ == "__main__":
    sys.argv[0] = "sglang.launch_server"
    runpy.run_module("sglang.launch_server", run_name="__main__")
