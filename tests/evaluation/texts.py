"""Random texts that hold what normalisation can get wrong: articles, marks, case, accents and blanks in every mixture."""

from hypothesis import strategies as st

WORDS = [
    "the",
    "a",
    "An",
    "Lisbon",
    "lisbon",
    "Tagus.",
    "U.S.",
    "1,815",
    "and",
    "-",
    "'s",
    "é",
    "a\u0301",
    "²",
    "Ⅷ",
    "日本",
    "",
    "\u00a0",
    "\n",
]
TEXTS = st.one_of(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), st.text(max_size=30))
