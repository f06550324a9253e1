"""Which row comes when: schedules of shares, the plan they become, and difficulty that splits a data set into
sources.

Standard library only. Knows no model, no reward, no file and no config object.

>>> ramp = linear({"easy": 1.0, "hard": 0.0}, {"easy": 0.5, "hard": 0.5})
>>> plan(ramp, sizes={"easy": 90, "hard": 30}, steps=100, per_step=8, seed=7).realised()
{'easy': 602, 'hard': 198}
"""

from .difficulty import bucket, context_words, evidence_words, hops, select
from .plan import Draw, Plan, plan
from .preview import Preview, SourceRow, StepRow, preview
from .schedule import Piecewise, Schedule, constant, from_config, linear, piecewise

__all__ = [
    "Draw",
    "Piecewise",
    "Plan",
    "Preview",
    "Schedule",
    "SourceRow",
    "StepRow",
    "bucket",
    "constant",
    "context_words",
    "evidence_words",
    "from_config",
    "hops",
    "linear",
    "piecewise",
    "plan",
    "preview",
    "select",
]
