"""docs/matrix.md says what docs/matrix.json holds."""

from __future__ import annotations

import json

import pytest
from matrix_page import PAGE, RESULT, page


@pytest.mark.skipif(not RESULT.is_file(), reason="make test-matrix has not written docs/matrix.json yet")
def test_the_page_shows_the_last_result() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == page(result)
    for cell in result["cells"]:
        assert all((cell[name] or 0.0) <= allowed for name, allowed in result["tolerances"].items())
