"""From a config to the numbers that its memory depends on: bytes of a weight, sequences, tokens, what is trained.

Knows what TRL's, PEFT's and vLLM's fields mean for memory; the formulas stand in `memory`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlkit.config import Config
from rlkit.errors import ConfigError, nearest
from rlkit.planning.lengths import Lengths
from rlkit.planning.shapes import Shape
from rlkit.planning.zero import Zero, zero_of

DEFAULT_LORA_TARGETS = ("q_proj", "v_proj")  # what PEFT adapts in the families of `shapes.FAMILIES`
BLOCK_SCALE_BYTES = 4 / 64  # a 32-bit scale for every 64 weights of 4 bits
_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True)
class Adapter:
    """LoRA as its memory sees it: trained parameters, and the inputs of adapted layers that dropout copies, per token."""

    parameters: int
    dropped_inputs: int
    head: bool


@dataclass(frozen=True)
class Setup:
    """What the formulas need; `sequences` are those of one forward pass on a GPU, `round_sequences` those of a round.

    `weight_bytes` are those of a weight that computes, `state_bytes` of one that the optimizer steps (plain PyTorch with
    32-bit weights computes in 16 bits from a copy). `engine` is None, or how vLLM generates.
    """

    method: str
    shape: Shape
    gpus: int
    nodes: int
    zero: Zero
    lengths: Lengths
    sequences: int
    round_sequences: int
    weight_bytes: int
    state_bytes: int
    trainable: int
    frozen_bytes: int
    adapter: Adapter | None
    reference: bool
    checkpointing: bool
    attention: str
    liger: bool
    full_logits: bool
    gather: bool
    engine: str | None = None
    engine_share: float = 0.0
    engine_parallel: int = 1
    engine_sleeps: bool = False

    @property
    def world(self) -> int:
        return self.gpus * self.nodes

    @property
    def tokens(self) -> int:
        """Tokens of one forward pass on a GPU, padding included."""
        return self.sequences * self.lengths.total


def read_setup(config: Config, shape: Shape, lengths: Lengths, gpus: int, nodes: int = 1) -> Setup:
    """The numbers of a config on `nodes` machines with `gpus` GPUs each; raises `ConfigError`."""
    get = config.setting
    zero, file = zero_of(config)
    weight_bytes, state_bytes = _precision(config, zero, file)
    adapter = _adapter(config, shape)
    model = config.model
    base = shape.parameters
    if adapter is None:
        trainable, frozen = base, 0
    else:
        trainable, frozen = (
            adapter.parameters,
            int(_frozen(shape, model, weight_bytes if zero.stage is not None else state_bytes)),
        )
        if zero.stage is None:
            state_bytes = 4  # PEFT keeps adapters in 32 bits
    sequences = get("per_device_train_batch_size")
    per_round = _per_round(config, gpus * nodes)
    return Setup(
        method=config.method,
        shape=shape,
        gpus=gpus,
        nodes=nodes,
        zero=zero,
        lengths=lengths,
        sequences=sequences,
        round_sequences=sequences * per_round,
        weight_bytes=weight_bytes,
        state_bytes=state_bytes,
        trainable=trainable,
        frozen_bytes=frozen,
        adapter=adapter,
        reference=config.method == "grpo" and get("beta") != 0.0 and adapter is None,
        checkpointing=bool(get("gradient_checkpointing")),
        attention=_attention(config),
        liger=bool(get("use_liger_kernel")),
        full_logits=config.method == "sft" and (get("loss_type") == "dft" or get("label_smoothing_factor") > 0),
        gather=config.method == "grpo" and bool(get("ds3_gather_for_generation")),
        **_engine(config),
    )


def _precision(config: Config, zero: Zero, file: Mapping[str, Any]) -> tuple[int, int]:
    """(bytes of a weight that computes, bytes of one that the optimizer steps)."""
    dtype = config.model.get("dtype") or "float32"
    stored = 2 if dtype == "auto" else _BYTES.get(str(dtype), 4)
    if config.train.get("fp16"):
        half = True
    else:
        given = config.train.get("bf16")
        half = not config.train.get("use_cpu", False) if given is None else bool(given)
    if zero.stage is not None:
        for name in ("bf16", "fp16"):
            enabled = (file.get(name) or {}).get("enabled", False)
            if enabled is True:
                return 2, 2
        auto = any((file.get(name) or {}).get("enabled") == "auto" for name in ("bf16", "fp16"))
        return (2, 2) if auto and half else (4, 4)
    return (2 if half else stored), stored


def _frozen(shape: Shape, model: Mapping[str, Any], weight_bytes: int) -> float:
    linear = sum(count * inputs * outputs for count, inputs, outputs in shape.matrices.values())
    if model.get("load_in_4bit"):
        return linear * (0.5 + BLOCK_SCALE_BYTES) + (shape.parameters - linear) * weight_bytes
    if model.get("load_in_8bit"):
        return linear + (shape.parameters - linear) * weight_bytes
    return float(shape.parameters * weight_bytes)


def _adapter(config: Config, shape: Shape) -> Adapter | None:
    """The parameters that LoRA adds, matrix by matrix: rank x (inputs + outputs)."""
    model = config.model
    if not model.get("use_peft"):
        return None
    rank = model.get("lora_r", 16)
    names = model.get("lora_target_modules") or [n for n in DEFAULT_LORA_TARGETS if n in shape.matrices]
    names = [names] if isinstance(names, str) else list(names)
    if names == ["all-linear"]:
        names = list(shape.matrices)
    adapted = []
    for name in names:
        fits = [matrix for key, matrix in shape.matrices.items() if key == name or key.endswith(f".{name}")]
        if not fits:
            raise ConfigError(
                f"model.lora_target_modules: {name!r} is none of the linear layers of {shape.name}, so its adapters cannot be "
                f"counted; name some of {', '.join(shape.matrices)}, or all-linear.{nearest(name, shape.matrices)}"
            )
        adapted += fits
    parameters = sum(count * rank * (inputs + outputs) for count, inputs, outputs in adapted)
    if model.get("use_dora"):
        parameters += sum(count * outputs for count, _, outputs in adapted)
    whole = model.get("lora_modules_to_save") or []
    parameters += len(whole) * shape.vocab * shape.hidden
    dropout = model.get("lora_dropout", 0.05) > 0 and not (
        config.method == "grpo" and config.setting("disable_dropout")
    )
    dropped = sum(count * inputs for count, inputs, _ in adapted) if dropout else 0
    return Adapter(parameters, dropped, head="lm_head" in whole)


def _attention(config: Config) -> str:
    name = str(config.model.get("attn_implementation") or "sdpa")
    if "flash" in name or "flex" in name:
        return "flash"
    return name if name == "eager" else "sdpa"


def _per_round(config: Config, world: int) -> int:
    """Forward passes of a GPU that share one round of completions."""
    if config.method == "sft":
        return 1
    get = config.setting
    batch = get("generation_batch_size")
    if batch is not None:
        return max(1, batch // (get("per_device_train_batch_size") * world))
    return get("steps_per_generation") or get("gradient_accumulation_steps")


def _engine(config: Config) -> dict[str, Any]:
    if config.method != "grpo" or not config.setting("use_vllm"):
        return {}
    return {
        "engine": config.setting("vllm_mode"),
        "engine_share": config.setting("vllm_gpu_memory_utilization"),
        "engine_parallel": config.setting("vllm_tensor_parallel_size"),
        "engine_sleeps": bool(config.setting("vllm_enable_sleep_mode")),
    }
