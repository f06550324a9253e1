"""How fast quotes are found, as ratios against something else measured in the same run.

    python benchmarks/grounding.py

1. Three 20-word quotes with one word changed, 8,000-word context: against a difflib window of the same length that
   slides word by word (threshold 0.85).
2. Three verbatim 20-word quotes, 8,000-word context: against `quote in context`.
3. The time per word from 1,000 to 128,000 words of context, 1 = linear.

Times of ours are those of the whole reward: parsing the completion, finding the quotes, adding up. "Cold" also prepares
the context, which is done once for all rollouts of a row; "warm" finds it prepared.
"""

from __future__ import annotations

import difflib
import random
import time
from collections.abc import Callable

from rewards import Sample
from rewards.grounding import quotes_in_context
from rewards.quotes import open_book

QUOTE_WORDS = 20
SIZES = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000)
rate = quotes_in_context()


def make_context(words: int, seed: int = 0) -> list[str]:
    """Random words with the frequencies of real text: the most frequent make up a tenth of it."""
    chance = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(5_000)]
    return chance.choices(vocabulary, [1 / rank for rank in range(1, 5_001)], k=words)


def make_quotes(context: list[str], changed: bool) -> list[str]:
    """Three quotes from a quarter, the middle and three quarters of the context."""
    quotes = []
    for quarter in (1, 2, 3):
        start = quarter * len(context) // 4
        quote = context[start : start + QUOTE_WORDS]
        if changed:
            quote[QUOTE_WORDS // 2] = "another"
        quotes.append(" ".join(quote))
    return quotes


def sample_of(text: str, quotes: list[str]) -> Sample:
    spans = " ".join(f"<retrieval>{quote}</retrieval>" for quote in quotes)
    return Sample(context=[text], completion=f"<think>{spans}</think> Answer: x")


def best_seconds(function: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def ours(text: str, quotes: list[str], *, cold: bool, repeats: int = 20) -> float:
    samples = iter([sample_of(text, quotes) for _ in range(repeats + 1)])  # a completion is parsed once a sample
    rate(next(samples))

    def score() -> None:
        if cold:
            open_book.cache_clear()
        rate(next(samples))

    return best_seconds(score, repeats)


def slide_difflib(quote: str, context: list[str]) -> bool:
    windows = (" ".join(context[i : i + QUOTE_WORDS]) for i in range(len(context) - QUOTE_WORDS + 1))
    return max(difflib.SequenceMatcher(None, quote, window).ratio() for window in windows) >= 0.85


def main() -> None:
    context = make_context(8_000)
    text = " ".join(context)

    quotes = make_quotes(context, changed=True)
    assert_found(text, quotes, 0.9)
    difflib_seconds = best_seconds(lambda: [slide_difflib(quote, context) for quote in quotes], 1)
    for state, cold in (("warm", False), ("cold", True)):
        seconds = ours(text, quotes, cold=cold)
        print(
            f"one word changed, {state}: {1e3 * seconds:8.3f} ms; difflib {1e3 * difflib_seconds:,.0f} ms: "
            f"{difflib_seconds / seconds:,.0f} times faster (at least 2,000)"
        )

    quotes = make_quotes(context, changed=False)
    assert_found(text, quotes, 1.0)
    plain_seconds = best_seconds(lambda: [quote in text for quote in quotes], 200)
    for state, cold in (("warm", False), ("cold", True)):
        seconds = ours(text, quotes, cold=cold)
        print(
            f"verbatim,         {state}: {1e3 * seconds:8.3f} ms; `in` {1e3 * plain_seconds:.3f} ms: "
            f"{seconds / plain_seconds:.1f} times slower (at most 30)"
        )

    print("context words   one word changed, cold   us a word   against the smallest")
    first = None
    for size in SIZES:
        context = make_context(size)
        text = " ".join(context)
        seconds = ours(text, make_quotes(context, changed=True), cold=True, repeats=5)
        per_word = 1e6 * seconds / size
        first = first or per_word
        print(f"{size:13,}   {1e3 * seconds:20.3f} ms   {per_word:9.4f}   {per_word / first:20.2f}")


def assert_found(text: str, quotes: list[str], least: float) -> None:
    score = rate(sample_of(text, quotes))
    if score is None or score < least:
        raise SystemExit(f"the quotes earn {score}, but should earn at least {least}: nothing worth timing.")


if __name__ == "__main__":
    main()
