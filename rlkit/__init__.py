"""GRPO and SFT for retrieval-grounded reasoning, on TRL and DeepSpeed.

`rlkit.train.train(load_config(path))` is what `rlkit train` does; importing this package loads nothing heavy.
"""

__version__ = "0.1.0"
