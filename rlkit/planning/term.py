"""One kind of memory on a GPU: what, when, how many bytes, by which formula."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30
# What is resident is there in all others. What the forward pass keeps is there in the loss (the output layer and its
# gradients) and in the backward pass (one layer's gradients after the other); then come the optimizer's step and, for GRPO,
# the making of completions.
MOMENTS = ("resident", "kept", "loss", "backward", "step", "generation")


@dataclass(frozen=True)
class Term:
    """`bytes` that a GPU holds in a moment, and the formula that they are counted by."""

    name: str
    moment: str
    bytes: int
    formula: str


def divided(split: int) -> str:
    """How a formula ends that is split over so many processes.

    >>> divided(8), divided(1)
    (' / 8', '')
    """
    return f" / {split}" if split > 1 else ""
