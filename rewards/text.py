"""Text as rewards compare it: answers as SQuAD normalises them, quotes folded, and the words of a text.

Every function is linear in its input. Knows no sample, no tag and no reward.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

_PUNCTUATION = {ord(mark): None for mark in string.punctuation}
_ARTICLES = re.compile(r"\b(a|an|the)\b")
# Text that is spaced evenly needs no splitting, which is most of the cost of folding a long context.
_UNEVEN_SPACE = ("  ", *(chr(code) for code in range(0x3001) if chr(code).isspace() and chr(code) != " "))
# A Chinese or Japanese character counts as a word; each other alternative matches once started, so none backtracks.
_CJK = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|\d+(?:[.,]\d+)*[^\W{_CJK}]*|[^\W{_CJK}]+(?:['’][^\W{_CJK}]+)*")


def vocabulary(*lines: str) -> frozenset[str]:
    """The words of some lines, as a set.

    >>> sorted(vocabulary("not never", "no"))
    ['never', 'no', 'not']
    """
    return frozenset(" ".join(lines).split())


# Words that stand in any English passage, whatever it is about: what has no other word says nothing.
_FUNCTION_WORDS = vocabulary(
    "a an the this that these those such same other another each every either neither both all any some no none one ones",
    "many much more most few less least several enough own",
    "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers",
    "herself it its itself they them their theirs themselves who whom whose which what whoever whatever whichever",
    "of in on at by for from to with as about above across after against along among around before behind below beneath",
    "beside besides between beyond down during except inside into like near off onto out outside over past per since",
    "than through throughout till toward towards under until up upon via within without",
    "and or but nor so yet if because although though while whereas unless whether when where why how then there here",
    "be am is are was were been being have has had having do does did doing done can could will would shall should may",
    "might must ought cannot not never also too very just only even still quite rather again ever almost however thus",
    "therefore hence instead",
    "isn't aren't wasn't weren't haven't hasn't hadn't don't doesn't didn't can't couldn't won't wouldn't shan't shouldn't",
    "mightn't mustn't i'm i've i'd i'll you're you've you'd you'll he's he'd he'll she's she'd she'll it's it'd it'll",
    "we're we've we'd we'll they're they've they'd they'll that's there's who's what's",
)
_TELLING_WORDS = 2


class Word(NamedTuple):
    """A word in a text: its folded form, as written, and its character offsets."""

    key: str
    text: str
    start: int
    end: int


def normalise_answer(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces: as the official SQuAD scripts (1.1 and 2.0) do.

    >>> normalise_answer("The  Eiffel-Tower!")
    'eiffeltower'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def bag_f1(answer: str, gold: str) -> float:
    """F1 of the two answers as bags of normalised tokens (SQuAD), in [0, 1].

    A gold answer that normalises to nothing ("A", "!!!") is compared with articles, then with punctuation, left in.

    >>> bag_f1("Lisbon.", "lisbon"), bag_f1("Lisbon Lisbon Lisbon", "Lisbon"), bag_f1("A", "A"), bag_f1("the", "A")
    (1.0, 0.5, 1.0, 0.0)
    """
    normalise = _normaliser(gold)
    ours, theirs = normalise(answer).split(), normalise(gold).split()
    same = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * same / (len(ours) + len(theirs)) if same else 0.0


def same_answer(answer: str, gold: str) -> bool:
    """Whether the two answers are equal after the normalisation that `bag_f1` uses.

    >>> same_answer("the Beatles!", "Beatles"), same_answer("B.", "B"), same_answer("", "A")
    (True, True, False)
    """
    normalise = _normaliser(gold)
    return normalise(answer) == normalise(gold)


def space(text: str) -> str:
    """The text with every run of white space as one blank and none around it."""
    if len(text) > 500 and not any(mark in text for mark in _UNEVEN_SPACE):
        return text.strip(" ")
    return " ".join(text.split())


def fold_case(text: str) -> str:
    """The text in lower case, character for character, so that offsets stay valid.

    >>> fold_case("\u0130zmir, \u039f\u0394\u039f\u03a3")
    'izmir, \u03bf\u03b4\u03bf\u03c3'
    """
    # The one character that grows in lower case, and the one whose lower case depends on its place.
    return text.replace("\u0130", "i").lower().replace("\u03c2", "\u03c3")


def fold(text: str) -> str:
    """The text as quotes are compared: white space and case folded.

    >>> fold("  Emma is\\n an 1815 NOVEL ")
    'emma is an 1815 novel'
    """
    return fold_case(space(text))


def words(text: str) -> list[Word]:
    """The words of a text in order; numbers keep their separators, contractions their apostrophe.

    >>> [word.key for word in words("It didn't cost $1,815.50!")]
    ['it', "didn't", 'cost', '1815.50']
    """
    return [Word(_key(match.group()), match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]


def says_something(text: str, min_words: int) -> bool:
    """Whether the text has at least so many words, and two that are not English function words (or as many as asked).

    Reads no further than needed.

    >>> [says_something(text, 3) for text in ("one of the", "is known for its", "is in Rome", "known for its bridges")]
    [False, False, False, True]
    """
    telling = 0
    for found, match in enumerate(_WORD.finditer(text), 1):
        telling += _key(match.group()) not in _FUNCTION_WORDS
        if found >= min_words and telling >= min(_TELLING_WORDS, min_words):
            return True
    return min_words <= 0


def _normaliser(gold: str) -> Callable[[str], str]:
    for normalise in (normalise_answer, _without_punctuation):
        if normalise(gold):
            return normalise
    return fold


def _without_punctuation(text: str) -> str:
    return " ".join(text.lower().translate(_PUNCTUATION).split())


def _key(word: str) -> str:
    if word[0].isdigit():
        word = word.replace(",", "")
    return fold_case(word).replace("’", "'")
