"""Continuous batching by transformers: a finished answer makes room for the next prompt at once.

Knows the manager behind `generate_batch`; knows tokens alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlkit.generation.weights import GenerationError

_POLL_SECONDS = 1.0
_WINDOWS, _WINDOW_TOKENS, _BATCH_TOKENS = 4, 32_768, 1024  # of the cache away from a GPU


def answer_each(
    model: Any, prompts: Iterator[tuple[int, list[int]]], most: int, seed: int | None, window_tokens: int | None
) -> Iterator[tuple[int, int, list[int]]]:
    """Number, length of the prompt and new tokens of every answer, as they come; at most `most` are under way.

    On a GPU the cache takes what memory is free, as transformers does it; elsewhere room for a few whole windows, because
    the free memory is the whole machine's. Raises `GenerationError` where the manager gives up.
    """
    from transformers import ContinuousBatchingConfig

    config = ContinuousBatchingConfig(seed=seed)
    if model.device.type != "cuda":
        pages = -(-(window_tokens or _WINDOW_TOKENS) // config.page_size)
        config.num_blocks, config.max_batch_tokens = _WINDOWS * pages, _BATCH_TOKENS
    with model.continuous_batching_context_manager(
        generation_config=model.generation_config, continuous_batching_config=config
    ) as manager:
        lengths: dict[str, int] = {}
        while True:
            while len(lengths) < most and (prompt := next(prompts, None)) is not None:
                number, ids = prompt
                lengths[str(number)] = len(ids)
                manager.add_request(ids, request_id=str(number))
            if not lengths:
                return
            result = manager.get_result(timeout=_POLL_SECONDS)
            if result is None:
                if not manager.is_running():
                    raise GenerationError(
                        "continuous batching ended early; its reason stands above. Lower the load with "
                        "continuous_batching: false, or attn_implementation: sdpa."
                    )
                continue
            if not result.is_finished():
                continue
            if result.error is not None:
                raise GenerationError(
                    f"continuous batching failed on a prompt ({result.error:.300}); try continuous_batching: false."
                )
            yield int(result.request_id), lengths.pop(result.request_id), list(result.generated_tokens)
