"""The bars of `benchmarks/grounding.py`, with room for a busy machine: all times compared are taken in one run."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location(
        "grounding_benchmark", Path(__file__).resolve().parents[2] / "benchmarks/grounding.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_altered_quotes_are_found_far_faster_than_by_sliding_difflib(bench):
    context = bench.make_context(8_000)
    quotes = bench.make_quotes(context, changed=True)
    ours = bench.ours(" ".join(context), quotes, cold=True)
    # A twentieth of the windows for one quote of three.
    windows = bench.best_seconds(lambda: bench.slide_difflib(quotes[0], context[:419]), 1)
    assert windows * 20 * 3 > 1_000 * ours


def test_verbatim_quotes_are_found_about_as_fast_as_by_plain_search(bench):
    context = bench.make_context(8_000)
    text, quotes = " ".join(context), bench.make_quotes(context, changed=False)
    plain = bench.best_seconds(lambda: [quote in text for quote in quotes], 200)
    assert bench.ours(text, quotes, cold=False) < 30 * plain


def test_cost_does_not_grow_faster_than_the_context(bench):
    def seconds(size):
        context = bench.make_context(size)
        return bench.ours(" ".join(context), bench.make_quotes(context, changed=True), cold=True, repeats=5)

    assert seconds(128_000) < 128 * 2 * seconds(1_000)
