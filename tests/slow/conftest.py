"""The longest runs first and in the background, their results last: the other slow tests leave half a core idle."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever `started_in_background` marks comes first, whatever `waits_for_background` marks comes last."""
    items.sort(key=lambda item: ("waits_for_background" in item.keywords) - ("started_in_background" in item.keywords))
