"""What the training tests share: every tokenizer layout, and one thread, so that sums have one order."""

from __future__ import annotations

from typing import Any

import pytest

from tests.training.layouts import LAYOUTS


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Any:
    """A tokenizer in each of the layouts."""
    return LAYOUTS[request.param]()


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    import torch

    torch.set_num_threads(1)
