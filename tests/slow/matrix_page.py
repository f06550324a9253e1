"""docs/matrix.md from docs/matrix.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULT, PAGE = ROOT / "docs/matrix.json", ROOT / "docs/matrix.md"
_TEXT = """\
# DeepSpeed: every ZeRO stage against one process

Every line is a training of a tiny model on several CPU processes (gloo), compared with the training of the same config on one process
without DeepSpeed: {steps} steps of {batch} rows (SFT) or completions (GRPO), gradients of two batches accumulated. Measured {date} with
{versions}.

```bash
make test-matrix
```

Equal to the last bit in every line, else there is no table:

- the planned order, and in GRPO every completion, its place in the log and each of its rewards;
- the final weights of all processes, and the saved ones as plain `from_pretrained` reads them (under ZeRO-3: gathered). With LoRA these
  are the adapter on its start model, and the merged model gives the same logits (to 1e-5).

GRPO samples, and each process has its own random numbers. So that the completions can be compared, the noise of a completion depends
here on its prompt, the step and its place in its group alone (Gumbel noise on the logits of which the largest is taken, which is sampling
at temperature 1), given to TRL as its `rollout_func`. The model that answers is the one in training, gathered where ZeRO-3 has split it.

What floating point lets differ, as the largest difference over all steps: the loss, the gradient's norm (relative), and any final weight.
DeepSpeed tells no norm under ZeRO-0. Allowed are {loss:.0e}, {gradient:.0e} and {weights:.0e}. `lora+tags` trains the rows of the tags' own tokens as well (`tag_tokens: true`).

| method | trained | ZeRO | processes | loss | gradient norm | weights |
|---|---|---|---|---|---|---|
{rows}

LoRA's dropout is off, as its random numbers are those of a process. Two cells run with `make test-slow` as well. The figures as JSON:
[matrix.json](matrix.json).
"""


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def page(result: Mapping[str, Any]) -> str:
    rows = [
        f"| {cell['method'].upper()} | {cell['adapter']} | {cell['stage']} | {cell['processes']} "
        f"| {cell['loss']:.1e} | {_shown(cell['gradient'])} | {cell['weights']:.1e} |"
        for cell in result["cells"]
    ]
    shown = ("python", "torch", "deepspeed", "trl", "transformers", "accelerate", "peft")
    return _TEXT.format(
        steps=result["steps"],
        batch=result["batch"],
        date=result["date"],
        versions=", ".join(f"{name} {result['versions'][name]}" for name in shown),
        rows="\n".join(rows),
        **result["tolerances"],
    )
