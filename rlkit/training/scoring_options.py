"""How completions are scored while a GRPO run trains: the options of the section `scoring:`.

The parts and their weights stand under `rewards:`; these options change when and where they are called, never what they
give. Imports nothing heavy, because a config is read before anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rlkit.errors import ConfigError, nearest


@dataclass(frozen=True)
class Scoring:
    """When rewards have taken too long, where they run, and how often processes are compared.

    `timeout_seconds`: what the rewards of one batch may take on one process; then the run stops and names part and row.
    `workers`: processes beside each training process that score for it (0: none, it scores itself).
    `compare_every`: at the first and each so-manieth batch every process scores one completion of another process as
    well and stops the run if it earns something else there (0: never, for rewards that are random on purpose).
    """

    timeout_seconds: float = 600.0
    workers: int = 0
    compare_every: int = 25

    @classmethod
    def from_config(cls, section: Any, path: str = "scoring") -> Scoring:
        """The options in a config section; raises `ConfigError` with path, rule and nearest name.

        >>> Scoring.from_config({"workers": 4}).timeout_seconds
        600.0
        >>> Scoring.from_config({"worker": 4})
        Traceback (most recent call last):
        rlkit.errors.ConfigError: scoring.worker: no such key. Did you mean 'workers'?
        """
        if section is not None and not isinstance(section, Mapping):
            raise ConfigError(f"{path}: is {section!r:.80}, but must be a mapping of keys to values.")
        given = dict(section or {})
        names = [each.name for each in fields(cls)]
        for key, value in given.items():
            if key not in names:
                raise ConfigError(f"{path}.{key}: no such key.{nearest(str(key), names)}")
            if key == "timeout_seconds":
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                    raise ConfigError(f"{path}.{key}: is {value!r:.60}, but must be a number of seconds above 0.")
            elif type(value) is not int or value < 0:
                raise ConfigError(f"{path}.{key}: is {value!r:.60}, but must be a whole number of at least 0.")
        return cls(**given)
