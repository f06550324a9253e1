"""Bytes per GPU of a run, term by term: each a formula over the model's shape and the config's sizes.

A GPU holds what is resident, and beside it whatever its busiest moment needs (`term.MOMENTS`). What a
card keeps for itself (context, communication, fragments of the allocator) is no term; the margin of the verb is for it.
Formulas and their measured errors stand in docs/plan.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rlkit.planning.setup import Setup
from rlkit.planning.term import GIB, MOMENTS, Term, divided
from rlkit.planning.zero import Zero, model_states

TILE_TOKENS, TILE_VOCAB = 4096, 32_768  # the tiles in which TRL projects onto the vocabulary
CPU_TILE_COPIES = 8  # without Triton each tile is folded through so many 32-bit copies


@dataclass(frozen=True)
class Estimate:
    """The terms of a GPU, and the bytes of a host."""

    terms: tuple[Term, ...]
    host: int

    def at(self, moment: str) -> int:
        return sum(term.bytes for term in self.terms if term.moment == moment)

    def busiest(self) -> str:
        """The moment in which a GPU holds most."""
        return max(MOMENTS[2:], key=self.together)

    def together(self, moment: str) -> int:
        """All bytes of a moment: its own, the resident ones, and in both passes what the forward pass keeps."""
        kept = self.at("kept") if moment in ("loss", "backward") else 0
        return self.at("resident") + kept + self.at(moment)

    @property
    def gpu(self) -> int:
        """Bytes of the busiest moment."""
        return self.together(self.busiest())


def estimate(setup: Setup, gpu_bytes: int, zero: Zero | None = None, on_gpu: bool = True) -> Estimate:
    """All terms of a run on GPUs of `gpu_bytes`, under `zero` instead of the config's own where given.

    `on_gpu` false counts what a CPU run of the same config holds, which is how the formulas are checked.
    """
    setup = setup if zero is None else replace(setup, zero=_placed(setup.zero, zero))
    if zero is not None and setup.zero.stage is not None and setup.weight_bytes == 2:
        setup = replace(setup, state_bytes=2)
    zero = setup.zero
    element = setup.weight_bytes if zero.stage is not None else setup.state_bytes
    states = model_states(
        zero, setup.trainable, setup.frozen_bytes, setup.shape.largest, setup.gpus, setup.nodes, weight_bytes=element
    )
    terms = list(states.terms)
    host = states.host
    if setup.reference:
        size = setup.shape.parameters * element
        split = setup.world if zero.stage == 3 else 1
        if zero.parameters:
            host += size // setup.nodes
        else:
            text = f"{element} B x {setup.shape.parameters / 1e6:,.1f}M{divided(split)}"
            terms.append(Term("reference model (beta > 0)", "resident", size // split, text))
    terms += _beyond_estimators(setup, element)
    terms += _buckets(setup)
    terms += _activations(setup)
    terms += _logits(setup, on_gpu)
    terms += _generation(setup, gpu_bytes)
    return Estimate(tuple(terms), host)


def _beyond_estimators(setup: Setup, element: int) -> list[Term]:
    """What runs were measured to hold of the states beside what DeepSpeed's estimators count."""
    zero, shape, T = setup.zero, setup.shape, setup.trainable
    if not zero.stage:
        return []
    terms = []
    if zero.stage == 3 and element == 2:
        live = min(shape.parameters, zero.max_live)
        more = max(0, element * live - 4 * shape.largest)
        text = f"{element} B x {live / 1e6:,.1f}M (stage3_max_live_parameters), less the largest module"
        if more:
            terms.append(Term("gathered and kept for reuse", "resident", more, text))
        if not zero.optimizer:
            text = f"{element} B x {T / 1e6:,.1f}M{divided(setup.world)}"
            terms.append(Term("gradients", "resident", element * T // setup.world, text))
    if not zero.optimizer:
        copies = 1 if element == 2 else 3
        text = f"{copies} x {element} B x {T / 1e6:,.1f}M{divided(setup.world)}"
        terms.append(Term("gradients, flattened", "step", copies * element * T // setup.world, text))
    return terms


def _placed(own: Zero, wanted: Zero) -> Zero:
    """Another stage with the buckets of the config's own file."""
    if own.stage is None:
        return wanted
    return replace(own, stage=wanted.stage, optimizer=wanted.optimizer, parameters=wanted.parameters)


def _buckets(setup: Setup) -> list[Term]:
    zero, hidden, element = setup.zero, setup.shape.hidden, setup.weight_bytes
    if not zero.stage or setup.world == 1:
        return []
    bucket = zero.bucket if zero.bucket is not None else hidden * hidden
    copies = 2 if zero.overlap and zero.stage < 3 else 1
    size, text = copies * bucket * element, f"{copies} x {bucket:,} x {element} B"
    if zero.stage == 3:
        ahead = zero.prefetch if zero.prefetch is not None else int(0.9 * hidden * hidden)
        size, text = size + ahead * element, f"({bucket:,} + {ahead:,} ahead) x {element} B"
    return [Term("communication buckets", "kept", size, text)]


def _activations(setup: Setup) -> list[Term]:
    """What the forward pass keeps for the backward pass of one batch of sequences."""
    shape, d = setup.shape, setup.weight_bytes
    H, I, q, kv = shape.hidden, shape.intermediate, shape.query_width, shape.kv_width
    n, S, b = setup.tokens, setup.lengths.total, setup.sequences
    norm = H * (2 * d if setup.liger else 4 + 2 * d)
    attention = d * (2 * q + 2 * kv)
    mlp = d * I * (3 if setup.liger else 4)
    token = 2 * norm + attention + mlp
    text = f"2 x {norm:,} (norms) + {attention:,} (attention) + {mlp:,} (MLP)"
    if setup.attention == "sdpa":
        repeated = 2 * (q - kv) if shape.kv_heads > 1 else 0  # a single head is shown to all without a copy
        extra = d * (S + repeated)
        text += f" + {extra:,} (mask and repeated keys)"
        token += extra
    elif setup.attention == "eager":
        extra = shape.heads * S * (4 + 2 * d)
        text += f" + {extra:,} (attention scores)"
        token += extra
    if setup.adapter is not None and setup.adapter.dropped_inputs:
        extra = setup.adapter.dropped_inputs * (d + 1) // shape.layers
        text += f" + {extra:,} (inputs of adapters after dropout)"
        token += extra
    ends = norm + d * H
    back = 2 * d * I + (8 * H if d == 2 else 0)
    terms = [Term("last norm and hidden states", "kept", n * ends, f"{n:,} tokens x {ends:,} B")]
    if setup.checkpointing:
        kept = n * shape.layers * H * d
        terms.append(Term("checkpoints", "kept", kept, f"{n:,} tokens x {shape.layers} layers x {H:,} x {d} B"))
        terms.append(Term("activations of a layer", "backward", n * token, f"{n:,} tokens x ({text}) B"))
    else:
        kept = n * shape.layers * token
        terms.append(Term("activations", "kept", kept, f"{n:,} tokens x {shape.layers} layers x ({text}) B"))
    terms.append(Term("gradients of activations", "backward", n * back, f"{n:,} tokens x {back:,} B"))
    if setup.attention == "sdpa":
        terms.append(Term("attention mask", "kept", b * S * S, f"{b} x {S:,}^2 x 1 B"))
    if setup.zero.stage is None and setup.state_bytes > d:
        inner = sum(count * inputs * outputs for count, inputs, outputs in shape.matrices.values())
        terms.append(Term("16-bit copies under autocast", "kept", d * inner, f"{d} B x {inner / 1e6:,.1f}M"))
    return terms


def _logits(setup: Setup, on_gpu: bool) -> list[Term]:
    """What scoring the completions needs: tiles of the logits, and the gradients at both sides of the output layer."""
    shape, d, b = setup.shape, setup.weight_bytes, setup.sequences
    V, H = shape.vocab, shape.hidden
    # A GPU scores the completions' tokens only; of an SFT sequence all may be such.
    length = setup.lengths.completion if on_gpu and setup.method == "grpo" else setup.lengths.total
    n = b * length
    if setup.full_logits:
        return [Term("logits, whole", "loss", n * V * (2 * d + 8), f"{n:,} tokens x {V:,} x (2 x {d} + 8) B")]
    tokens = min(n, TILE_TOKENS)
    size, text = tokens * TILE_VOCAB * d, f"{tokens:,} x {TILE_VOCAB:,} x {d} B"
    if not on_gpu:
        size += tokens * min(V, TILE_VOCAB) * 4 * CPU_TILE_COPIES
        text += f" + {CPU_TILE_COPIES} x {tokens:,} x {min(V, TILE_VOCAB):,} x 4 B"
    cast = d if d < 4 else 0
    terms = [
        Term("logits, one tile", "loss", size, text),
        Term(
            "output layer: hidden states",
            "loss",
            n * H * (4 + d + cast),
            f"{n:,} tokens x {H:,} x (4 + {d + cast}) B",
        ),
    ]
    if setup.adapter is None or setup.adapter.head:
        terms.append(Term("output layer: gradient", "loss", V * H * (4 + cast), f"{V:,} x {H:,} x (4 + {cast}) B"))
    return terms


def _generation(setup: Setup, gpu_bytes: int) -> list[Term]:
    """What making completions needs: the cache of keys and values, the first pass over the prompts, or vLLM's share."""
    if setup.method == "sft" or setup.engine == "server":
        return []
    shape, d, lengths = setup.shape, setup.weight_bytes, setup.lengths
    if setup.engine is not None:
        moment = "generation" if setup.engine_sleeps else "resident"
        share = setup.engine_share
        text = f"{share:g} of {gpu_bytes / GIB:,.0f} GiB (train.vllm_gpu_memory_utilization)"
        return [Term("vLLM: weights and cache", moment, int(share * gpu_bytes), text)]
    n, R = setup.round_sequences * lengths.prompt, setup.round_sequences
    cache = R * lengths.total * cache_bytes_per_token(setup)
    first = n * d * (3 * shape.intermediate + 4 * shape.hidden)
    terms = [
        Term(
            "keys and values",
            "generation",
            cache,
            f"{R} sequences x {lengths.total:,} tokens x {cache_bytes_per_token(setup):,} B",
        ),
        Term("first pass over the prompts", "generation", first, f"{n:,} tokens x {first // n:,} B"),
        Term("logits of a token", "generation", R * shape.vocab * (d + 8), f"{R} x {shape.vocab:,} x ({d} + 8) B"),
    ]
    if setup.attention != "flash":
        size = R * lengths.prompt**2 * (1 + d)
        terms.append(
            Term("attention mask of the prompts", "generation", size, f"{R} x {lengths.prompt:,}^2 x (1 + {d}) B")
        )
    if setup.zero.stage == 3 and setup.gather:
        size = shape.parameters * d
        terms.append(
            Term(
                "gathered weights",
                "generation",
                size,
                f"{d} B x {shape.parameters / 1e6:,.1f}M (train.ds3_gather_for_generation)",
            )
        )
    return terms


def cache_bytes_per_token(setup: Setup) -> int:
    """Bytes of one token's keys and values over all layers."""
    return 2 * setup.shape.layers * setup.shape.kv_width * setup.weight_bytes


def engine_problem(setup: Setup, gpu_bytes: int) -> str | None:
    """Why vLLM cannot start in its share of a GPU, None where it can: its weights and one sequence must lie there."""
    if setup.engine != "colocate":
        return None
    share = int(setup.engine_share * gpu_bytes)
    weights = setup.shape.parameters * setup.weight_bytes // setup.engine_parallel
    one = setup.lengths.total * cache_bytes_per_token(setup) // setup.engine_parallel
    if weights + one <= share:
        return None
    return (
        f"vLLM's share is {share / GIB:.1f} GiB (train.vllm_gpu_memory_utilization {setup.engine_share:g}), but its weights take "
        f"{weights / GIB:.1f} GiB and one sequence {one / GIB:.2f} GiB on each of {setup.engine_parallel} GPU(s), so it cannot start"
    )
