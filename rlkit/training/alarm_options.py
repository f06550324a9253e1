"""How a run is watched: the options of the section `alarms:`, each checked where it is declared.

Knows the thresholds and what they mean; `alarms` knows what is done with them. Imports nothing heavy, because a config is
read before anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rlkit.errors import ConfigError, nearest


@dataclass(frozen=True)
class Probe:
    """Held-out rows that the model answers while it trains: `rows` of `source`, evenly spaced, every `every_steps`."""

    source: Mapping[str, Any]
    rows: int = 64
    every_steps: int = 25


@dataclass(frozen=True)
class Alarms:
    """What is watched, and from when on it is too much; shares are from 0 to 1.

    `window_steps`: a run is judged at the end of each stretch of so many optimizer steps, by its means.
    `windows`: an alarm is raised when something has looked wrong for so many stretches in a row.
    `min_rise`: a reward, or a part of it, that rises by less of what it can span has not risen.
    `max_gain`: correctness that rises by no more has not risen.
    `saturated_at`: from this share of its span on a part is at its best and teaches nothing more.
    `drift_factor`: completions so many times longer or shorter, or quoting so many times more or less, have drifted.
    `well_formed_at`, `wrong_below`: format without correctness is so many well-formed completions, so few right ones.
    `repeated_at`: share of the contexts in which the same quote stands.
    `equal_at`: share of the groups whose completions all earn the same.
    `spread_below`: share of the spread within groups that is left of what it once was.
    `stop`: whether the first alarm ends the run. `correct`: the part that says what is right, written as under
    `rewards:` without a weight (absent: `exact_match`, for Memory-T1 `temporal_answer`). `probe`: the held-out rows.
    """

    window_steps: int = 25
    windows: int = 2
    min_rise: float = 0.1
    max_gain: float = 0.02
    saturated_at: float = 0.98
    drift_factor: float = 2.0
    well_formed_at: float = 0.9
    wrong_below: float = 0.1
    repeated_at: float = 0.5
    equal_at: float = 0.9
    spread_below: float = 0.2
    stop: bool = False
    correct: Mapping[str, Any] | None = None
    probe: Probe | None = None

    @classmethod
    def from_config(cls, section: Any, path: str = "alarms") -> Alarms | None:
        """The options in a config section, `None` for `false`; raises `ConfigError` with path, rule and nearest name.

        >>> Alarms.from_config({"window_steps": 50}).windows, Alarms.from_config(False)
        (2, None)
        >>> Alarms.from_config({"window_step": 50})
        Traceback (most recent call last):
        rlkit.errors.ConfigError: alarms.window_step: no such key. Did you mean 'window_steps'?
        """
        if section is False:
            return None
        given = _known({} if section is None or section is True else section, cls, path)
        if given.get("probe") is not None:
            probe = _known(given["probe"], Probe, f"{path}.probe")
            if not isinstance(probe.get("source"), Mapping):
                raise ConfigError(
                    f"{path}.probe.source: is {probe.get('source')!r:.80}, but must be a source of its own, "
                    "e.g. {format: hotpotqa, path: FILE}."
                )
            _check(probe, Probe, f"{path}.probe")
            given["probe"] = Probe(**probe)
        _check(given, cls, path)
        options = cls(**given)
        if options.probe is not None and options.probe.every_steps > options.window_steps:
            raise ConfigError(
                f"{path}.probe.every_steps: is {options.probe.every_steps}, but a stretch of {options.window_steps} steps "
                f"is judged by the probes in it; set it to {options.window_steps} or less, or raise window_steps."
            )
        return options


def _known(section: Any, kind: type, path: str) -> dict[str, Any]:
    if not isinstance(section, Mapping):
        raise ConfigError(f"{path}: is {section!r:.80}, but must be a mapping of keys to values, or false for none.")
    names = [each.name for each in fields(kind)]
    for key in section:
        if key not in names:
            raise ConfigError(f"{path}.{key}: no such key.{nearest(str(key), names)}")
    return dict(section)


def _check(given: Mapping[str, Any], kind: type, path: str) -> None:
    for key, value in given.items():
        if key in ("probe", "source"):
            continue
        default = next(each.default for each in fields(kind) if each.name == key)
        if key == "correct":
            if value is not None and (not isinstance(value, Mapping) or "use" not in value or "weight" in value):
                raise ConfigError(
                    f"{path}.correct: is {value!r:.80}, but must be a part without a weight, e.g. {{use: token_f1}}."
                )
        elif isinstance(default, bool):
            if type(value) is not bool:
                raise ConfigError(f"{path}.{key}: is {value!r:.60}, but must be true or false.")
        elif isinstance(default, int):
            if type(value) is not int or value < 1:
                raise ConfigError(f"{path}.{key}: is {value!r:.60}, but must be a whole number of at least 1.")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise ConfigError(f"{path}.{key}: is {value!r:.60}, but must be a number of at least 0.")
        elif key == "drift_factor" and value <= 1:
            raise ConfigError(f"{path}.{key}: is {value!r}, but must be greater than 1, which is no change.")
        elif key != "drift_factor" and value > 1:
            raise ConfigError(f"{path}.{key}: is {value!r}, but is a share, so it must be from 0 to 1.")
