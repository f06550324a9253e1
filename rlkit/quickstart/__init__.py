"""The whole method, small: a made-up world, a tiny model trained from scratch, SFT, GRPO and the evaluation of each."""

from rlkit.quickstart.stages import run

__all__ = ["run"]
