"""One line on the memory of a run, for `rlkit check`: only what is known without torch, without data and at once."""

from __future__ import annotations

from rlkit.config import Config
from rlkit.errors import ConfigError
from rlkit.planning.lengths import TOKENS_PER_WORD, lengths_of
from rlkit.planning.memory import estimate
from rlkit.planning.setup import read_setup
from rlkit.planning.shapes import shape_of
from rlkit.planning.term import GIB

CARD_GIB = 80  # of which vLLM takes its share


def outline(config: Config, processes: int, prompt: int, completion: int, counted_in: str) -> str:
    """About how much a GPU holds in a run of `processes`, in words; empty where the model's shape is not known here.

    `prompt` and `completion` are the data's longest ones, for a config that limits none.
    """
    if config.setting("use_cpu"):
        return ""
    factor = 1 if counted_in == "tokens" else TOKENS_PER_WORD
    stated = config.prompt.max_tokens is not None or config.memory is not None
    try:
        shape = shape_of(config, build=False)
        lengths = lengths_of(
            config,
            None if stated else max(1, factor * prompt),
            max(1, factor * completion) if config.method == "sft" else None,
        )
        setup = read_setup(config, shape, lengths, processes)
    except ConfigError:  # `plan` tells what is missing; a check is not stopped by it
        return ""
    counted = estimate(setup, CARD_GIB * GIB)
    stage = "no DeepSpeed" if setup.zero.stage is None else f"ZeRO {setup.zero.stage}, offload {setup.zero.offload}"
    return (
        f"about {counted.gpu / GIB:,.1f} GiB per GPU of {CARD_GIB} ({stage}, {processes} process(es), {shape.parameters / 1e6:,.1f}M "
        "parameters); rlkit plan tells its terms and what else fits"
    )
