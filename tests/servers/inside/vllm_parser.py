"""A reasoning parser for the scripted model, loaded by vLLM as a plug-in.

vLLM's own parsers take an answer without <think> for reasoning. The scripted model's start token, at the end of the
prompt, determines whether there will be any.
"""

from vllm.reasoning import ReasoningParserManager
from vllm.reasoning.deepseek_r1_reasoning_parser import DeepSeekR1ReasoningParser


@ReasoningParserManager.register_module("scripted")
class ScriptedReasoningParser(DeepSeekR1ReasoningParser):
    def __init__(self, tokenizer, *args, **kwargs):
        super().__init__(tokenizer, *args, **kwargs)
        self.starts = {number: "think" in token for token, number in self.vocab.items() if token.startswith("<|run:")}

    def is_reasoning_end(self, input_ids):
        for number in reversed(input_ids):
            if number == self.end_token_id:
                return True
            if number in self.starts:
                return not self.starts[number]
        return True

    def extract_reasoning(self, model_output, request):
        if "<think>" not in model_output:
            return None, model_output
        return super().extract_reasoning(model_output, request)
