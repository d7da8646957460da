"""Write the scripted model to disk: as GGUF for llama.cpp, in Hugging Face's form for the other servers.

Both formats are simple enough to write by hand, so the tests need neither numpy nor the formats' own packages.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.servers.model.scripts import END, PAD, build_vocabulary
from tests.servers.model.weights import CONTEXT, HEAD, HIDDEN, SLOW, SLOW_INTERLEAVED, UNITS, VOCABULARY, build_weights

TEMPLATE = Path(__file__).parent / "chat_template.jinja"
REFUSAL = "{{- raise_exception('System message must be at the beginning.') -}}"
ACCEPTED = "{{- '<|im_start|>system\\n' + text(message.content) + '<|im_end|>\\n' -}}"

ALIGNMENT = 32
ROPE_BASE = 1e12
NORM_EPSILON = 1e-6
TOKEN_TYPES = {"normal": 1, "control": 3, "user": 4}
LAYER = "model.layers.0."

# Names of the matrices in both formats.
MATRICES = {
    "embedding": ("token_embd", "model.embed_tokens"),
    "head": ("output", "lm_head"),
    "query": ("blk.0.attn_q", LAYER + "self_attn.q_proj"),
    "key": ("blk.0.attn_k", LAYER + "self_attn.k_proj"),
    "value": ("blk.0.attn_v", LAYER + "self_attn.v_proj"),
    "output": ("blk.0.attn_output", LAYER + "self_attn.o_proj"),
    "gate": ("blk.0.ffn_gate", LAYER + "mlp.gate_proj"),
    "up": ("blk.0.ffn_up", LAYER + "mlp.up_proj"),
    "down": ("blk.0.ffn_down", LAYER + "mlp.down_proj"),
}
NORMS = {
    "output_norm": "model.norm",
    "blk.0.attn_norm": LAYER + "input_layernorm",
    "blk.0.ffn_norm": LAYER + "post_attention_layernorm",
}
ONES = struct.pack(f"<{HIDDEN}f", *[1.0] * HIDDEN)

Tensors = dict[str, tuple[list[int], bytes]]  # shape, outermost first, and float32 values


def read_template(*, lenient: bool = False) -> str:
    """Return the chat template. The strict one refuses a system message that is not first, as Qwen's newest do."""
    template = TEMPLATE.read_text().rstrip("\n")
    assert REFUSAL in template
    return template.replace(REFUSAL, ACCEPTED) if lenient else template


def write_gguf(path: Path) -> Path:
    tokens, merges = build_vocabulary()
    weights = build_weights(tokens, SLOW_INTERLEAVED)
    tensors: Tensors = {
        f"{gguf}.weight": ([weights[name].rows, weights[name].columns], weights[name].values.tobytes())
        for name, (gguf, _) in MATRICES.items()
    }
    tensors |= {f"{name}.weight": ([HIDDEN], ONES) for name in NORMS}
    fields = _gguf_fields(tokens, merges)
    head = b"".join(
        [
            struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(fields)),
            *(_string(name) + value for name, value in fields.items()),
            *_tensor_infos(tensors),
        ]
    )
    with path.open("wb") as file:
        file.write(_padded(head))
        file.writelines(_padded(data) for _, data in tensors.values())
    return path


def _gguf_fields(tokens: Mapping[str, str], merges: list[tuple[str, str]]) -> dict[str, bytes]:
    names = list(tokens)
    return {
        "general.architecture": _text("llama"),
        "general.name": _text("scripted"),
        "general.file_type": _number(0),  # all float32
        "llama.context_length": _number(CONTEXT),
        "llama.embedding_length": _number(HIDDEN),
        "llama.block_count": _number(1),
        "llama.feed_forward_length": _number(UNITS),
        "llama.attention.head_count": _number(1),
        "llama.attention.head_count_kv": _number(1),
        "llama.attention.key_length": _number(HEAD),
        "llama.attention.value_length": _number(HEAD),
        "llama.attention.layer_norm_rms_epsilon": _real(NORM_EPSILON),
        "llama.rope.dimension_count": _number(HEAD),
        "llama.rope.freq_base": _real(ROPE_BASE),
        "llama.vocab_size": _number(VOCABULARY),
        "tokenizer.ggml.model": _text("gpt2"),
        "tokenizer.ggml.pre": _text("gpt-2"),
        "tokenizer.ggml.tokens": _array(8, map(_string, names)),
        "tokenizer.ggml.token_type": _array(5, (struct.pack("<i", TOKEN_TYPES[kind]) for kind in tokens.values())),
        "tokenizer.ggml.merges": _array(8, (_string(" ".join(pair)) for pair in merges)),
        "tokenizer.ggml.eos_token_id": _number(names.index(END)),
        "tokenizer.ggml.padding_token_id": _number(names.index(PAD)),
        "tokenizer.ggml.add_bos_token": struct.pack("<I?", 7, False),
        "tokenizer.chat_template": _text(read_template()),
    }


def _tensor_infos(tensors: Tensors) -> Iterable[bytes]:
    offset = 0
    for name, (shape, data) in tensors.items():
        sizes = struct.pack(f"<{len(shape)}Q", *reversed(shape))
        yield _string(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", 0, offset)
        offset += len(_padded(data))


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _text(text: str) -> bytes:
    return struct.pack("<I", 8) + _string(text)


def _number(value: int) -> bytes:
    return struct.pack("<II", 4, value)


def _real(value: float) -> bytes:
    return struct.pack("<If", 6, value)


def _array(kind: int, values: Iterable[bytes]) -> bytes:
    items = list(values)
    return struct.pack("<IIQ", 9, kind, len(items)) + b"".join(items)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)


def write_hugging_face(folder: Path) -> Path:
    """Write the model, its tokenizer and their settings into a folder."""
    tokens, merges = build_vocabulary()
    weights = build_weights(tokens, SLOW)
    tensors: Tensors = {
        f"{name}.weight": ([weights[key].rows, weights[key].columns], weights[key].values.tobytes())
        for key, (_, name) in MATRICES.items()
    }
    tensors |= {f"{name}.weight": ([HIDDEN], ONES) for name in NORMS.values()}
    folder.mkdir(parents=True, exist_ok=True)
    _write_safetensors(folder / "model.safetensors", tensors)
    end, pad = list(tokens).index(END), list(tokens).index(PAD)
    documents: dict[str, Any] = {
        "tokenizer.json": _tokenizer(tokens, merges),
        "tokenizer_config.json": _tokenizer_settings(tokens),
        "special_tokens_map.json": {"eos_token": END, "pad_token": PAD},
        "generation_config.json": {"eos_token_id": [end, pad], "pad_token_id": pad},
        "config.json": _architecture() | {"bos_token_id": None, "eos_token_id": end, "pad_token_id": pad},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=1))
    (folder / "chat_template.jinja").write_text(read_template())
    return folder


def _write_safetensors(path: Path, tensors: Tensors) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + b"".join(data for _, data in tensors.values()))


def _tokenizer(tokens: Mapping[str, str], merges: list[tuple[str, str]]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    plain = {token: number for number, (token, kind) in enumerate(tokens.items()) if kind == "normal"}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": int(number), **added} for number, added in _added_tokens(tokens).items()],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": plain,
            "merges": merges,
        },
    }


def _tokenizer_settings(tokens: Mapping[str, str]) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": END,
        "pad_token": PAD,
        "add_bos_token": False,
        "added_tokens_decoder": _added_tokens(tokens),
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": read_template(),
    }


def _added_tokens(tokens: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        str(number): {"content": token, **plain, "special": kind == "control"}
        for number, (token, kind) in enumerate(tokens.items())
        if kind != "normal"
    }


def _architecture() -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": UNITS,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": HEAD,
        "max_position_embeddings": CONTEXT,
        "rope_theta": ROPE_BASE,
        "rms_norm_eps": NORM_EPSILON,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "float32",
    }
