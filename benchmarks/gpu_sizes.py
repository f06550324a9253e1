"""The shapes of benchmarks/gpu.py, and what its tables show of a run: speed, model operations, shares."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

WARM_UP_STEPS = 1
COMPLETIONS = 8
ROPE = {"rope_type": "default", "rope_theta": 1e6}
QWEN = {"vocab_size": 151936, "max_position_embeddings": 131072, "rope_parameters": ROPE, "tie_word_embeddings": True}
LORA = {"use_peft": True, "lora_r": 64, "lora_alpha": 128, "lora_target_modules": "all-linear"}


def shape(width: int, inner: int, layers: int, heads: int, groups: int, **other: Any) -> dict[str, Any]:
    sizes = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers}
    return {**QWEN, **sizes, "num_attention_heads": heads, "num_key_value_heads": groups, **other}


SHAPES = {
    "0.5b": shape(896, 4864, 24, 14, 2),
    "3b": shape(2048, 11008, 36, 16, 2),
    "7b-lora": shape(3584, 18944, 28, 28, 4, vocab_size=152064, tie_word_embeddings=False),
    "tiny": shape(32, 64, 2, 4, 2, vocab_size=5000),
    "tiny-lora": shape(32, 64, 2, 4, 2, vocab_size=5000, tie_word_embeddings=False),
}
# Dense bf16, as the makers give it.
PEAK_TFLOPS = {"H200": 989, "H100": 989, "GH200": 989, "B200": 2250, "A100": 312, "L40S": 362, "A10": 125, "4090": 165}


def forward_flops(size: Mapping[str, Any], tokens: float, context: float, answered: float) -> float:
    """Floating point operations of one forward pass.

    Each of `tokens` tokens sees half of `context` on average; only the `answered` ones go through the output embeddings.
    """
    width, layers, heads = size["hidden_size"], size["num_hidden_layers"], size["num_attention_heads"]
    keys = width * size["num_key_value_heads"] // heads
    layer = 2 * width * width + 2 * width * keys + 3 * width * size["intermediate_size"]
    return tokens * layers * (2 * layer + 4 * width * context / 2) + answered * 2 * width * size["vocab_size"]


def figures(shape_name: str, found: Mapping[str, Any], new_tokens: int, peak_tflops: float | None) -> dict[str, Any]:
    """What a table shows of a run, from its steps behind the first."""
    steps = found["steps"][WARM_UP_STEPS:]
    step, tokens = fmean(each["step"] for each in steps), fmean(each["tokens"] for each in steps)
    generation, rewards = (fmean(each[name] for each in steps) for name in ("generation", "rewards"))
    one = forward_flops(SHAPES[shape_name], tokens, tokens / COMPLETIONS, new_tokens * COMPLETIONS)
    backward = 1 if shape_name.endswith("-lora") else 2
    peak = peak_tflops or next((value for name, value in PEAK_TFLOPS.items() if name in found["device"]), None)
    return {
        "device": found["device"],
        "step_seconds": step,
        "tokens_per_second": tokens / step,
        "mfu": None if peak is None else one * (2 + backward) / step / (peak * 1e12),
        "update_mfu": None if peak is None else one * (1 + backward) / (step - generation - rewards) / (peak * 1e12),
        "peak_gib": found["peak_gib"],
        "generation": generation / step,
        "rewards": rewards / step,
        "update": 1 - (generation + rewards) / step,
        "tokens": tokens,
    }
