"""The accelerators of this machine, as the processes of a run will see them.

Asks torch in a process of its own, so that the launcher itself stays small and holds no device.
"""

from __future__ import annotations

import os
import subprocess
import sys

from rlkit.errors import RlkitError

_ASK = "import torch; print(torch.accelerator.device_count() if torch.accelerator.is_available() else 0)"


def accelerators() -> int:
    """How many accelerators torch sees here, 0 for none; raises `RlkitError` where torch cannot be asked."""
    asked = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise RlkitError(f"torch cannot be asked for this machine's accelerators: {asked.stderr.strip()[-500:]}")
    return int(asked.stdout.split()[-1])


def visible_ids() -> list[str] | None:
    """The ids in CUDA_VISIBLE_DEVICES; None where it is not set."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if value is None else [part.strip() for part in value.split(",") if part.strip()]
