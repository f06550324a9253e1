"""Do two texts that are nearly alike assert the same? Says no for every change of a word or symbol that may turn a fact.

A misquote of one word is as close to its passage when it turns a fact as when it does not, so the kinds of words that turn
facts are listed here: English ones, and any in a script without capital letters, where a name cannot be told. In doubt
the texts contradict each other. Knows no sample and no reward; other words may change, and what they turn goes unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from rewards.text import Word, vocabulary


def _both_ways(*lines: str) -> dict[str, set[str]]:
    """Each word of "one/other" pairs to its opposites."""
    opposites: dict[str, set[str]] = {}
    for one, other in (pair.split("/") for pair in vocabulary(*lines)):
        opposites.setdefault(one, set()).add(other)
        opposites.setdefault(other, set()).add(one)
    return opposites


_NUMBER_WORDS = vocabulary(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen",
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million",
    "millions billion billions trillion dozen dozens half halves quarter quarters single double triple twin once twice",
    "thrice couple pair first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth",
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth fortieth fiftieth sixtieth",
    "seventieth eightieth ninetieth hundredth thousandth millionth thirds fourths fifths sixths eighths tenths",
    "twenties thirties forties fifties sixties seventies eighties nineties",
)
_NEGATIONS = vocabulary(
    "no not never none nobody nothing neither nor nowhere without cannot non anti hardly barely scarcely rarely seldom",
    "unlike except false falsely untrue fail fails failed deny denies denied refuse refuses refused lack lacks lacked",
    "allegedly supposedly purportedly reportedly",
    "dont doesnt didnt isnt arent wasnt werent hasnt havent hadnt cant couldnt wont wouldnt shouldnt mustnt",
)
# A measure belongs to its number, a direction to its place.
_MEASURES = vocabulary(
    "second seconds minute minutes hour hours day days week weeks month months year years decade decades century centuries",
    "millimetre millimetres millimeter millimeters centimetre centimetres centimeter centimeters metre metres meter meters",
    "kilometre kilometres kilometer kilometers inch inches foot feet yard yards mile miles mm cm m km ft mi acre acres",
    "hectare hectares gram grams kilogram kilograms kg pound pounds ounce ounces ton tons tonne tonnes litre litres liter",
    "liters gallon gallons dollar dollars cent cents euro euros percent percentage point points degree degrees",
    "north south east west northeast northwest southeast southwest northern southern eastern western northeastern",
    "northwestern southeastern southwestern northward southward eastward westward",
)
_OPPOSITES = _both_ways(
    "before/after until/since early/late earlier/later earliest/latest former/latter former/current previous/next first/last",
    "preceded/followed preceding/following predecessor/successor ancestor/descendant beginning/end start/end began/ended",
    "begins/ends started/ended starts/ends opened/closed opens/closes open/closed founded/dissolved founded/closed born/died born/killed alive/dead only/also",
    "more/less more/fewer most/least most/fewest many/few all/some always/sometimes maximum/minimum major/minor best/worst",
    "better/worse good/bad high/low higher/lower highest/lowest large/small larger/smaller largest/smallest big/small",
    "bigger/smaller biggest/smallest long/short longer/shorter longest/shortest old/young old/new older/younger older/newer",
    "oldest/youngest oldest/newest fast/slow rich/poor strong/weak hot/cold wet/dry light/dark black/white senior/junior",
    "above/below over/under up/down upper/lower left/right inside/outside in/outside to/from into/from on/off for/against",
    "win/lose wins/loses won/lost winner/loser victory/defeat success/failure gain/lose gained/lost gain/loss profit/loss",
    "buy/sell buys/sells bought/sold rise/fall rises/falls rose/fell increase/decrease increases/decreases",
    "increased/decreased increasing/decreasing import/export imports/exports imported/exported accept/reject accepts/rejects",
    "accepted/rejected allow/forbid allowed/forbidden pass/fail passed/failed attack/defend attacked/defended arrive/leave",
    "arrived/left joined/left entered/left came/went support/oppose supports/opposes supported/opposed love/hate loved/hated",
    "friend/enemy peace/war true/false right/wrong guilty/innocent public/private same/different with/without day/night",
    "summer/winter male/female man/woman men/women boy/girl boys/girls he/she him/her his/her himself/herself mother/father",
    "mothers/fathers parent/child parents/children wife/husband wives/husbands widow/widower son/daughter sons/daughters",
    "brother/sister brothers/sisters uncle/aunt nephew/niece grandfather/grandmother grandson/granddaughter king/queen",
    "prince/princess duke/duchess actor/actress hero/heroine employer/employee",
)
_NEGATIVE_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "anti")
# Words that open sentences: their capital letter does not make them names.
_OPENERS = vocabulary(
    "a an the this that these those it its there here in on at of by for from to with as and or but so if when while",
    "after before since during until although though because also then however which who",
)
_SYMBOL = re.compile(r"[$£€¥%‰°<>=±]|(?<![\w.,)\]])[-−–+](?=\d)")
_MINUS = str.maketrans("−–", "--")


def contradict(ours: Iterable[Word], theirs: Iterable[Word]) -> bool:
    """Whether the words by which two aligned texts differ change a number, a measure, a negation, a name or a side.

    In doubt it says yes: any capitalised word that does not merely open a sentence counts as a name.

    >>> from rewards.text import words
    >>> contradict(words("1816"), words("1815")), contradict(words("never"), []), contradict([], words("Jane"))
    (True, True, True)
    >>> contradict(words("legal"), words("illegal")), contradict(words("his"), words("her"))
    (True, True)
    >>> contradict(words("film"), words("movie"))
    False
    """
    ours, theirs = list(ours), list(theirs)
    if any(map(_is_fixed, (*ours, *theirs))):
        return True
    if any(one.key + other.key in _NEGATIONS for text in (ours, theirs) for one, other in pairwise(text)):  # "n ot"
        return True
    mine, other = set(map(_bare, ours)), set(map(_bare, theirs))
    if any(not other.isdisjoint(_OPPOSITES.get(key, ())) for key in mine):
        return True
    return any(
        prefix + key in b for a, b in ((mine, other), (other, mine)) for key in a for prefix in _NEGATIVE_PREFIXES
    )


def symbols(text: str) -> list[str]:
    """The symbols of a text that turn its numbers, in order: currencies, per cent, comparisons, signs.

    >>> symbols("from -5 to 1990-1995, or $3 = 4 %")
    ['-', '$', '=', '%']
    """
    return [symbol.translate(_MINUS) for symbol in _SYMBOL.findall(text)]


def _bare(word: Word) -> str:
    return word.key.removesuffix("'s")


def _is_fixed(word: Word) -> bool:
    """Whether no text that leaves the word out, adds it or exchanges it can be trusted to assert the same."""
    key = _bare(word)
    number = key in _NUMBER_WORDS or key in _MEASURES or any(char.isnumeric() for char in key)
    negation = key in _NEGATIONS or key.endswith("n't")
    name = word.text[0].isupper() and key not in _OPENERS
    return number or negation or name or _hides(word.text)


def _hides(text: str) -> bool:
    """Whether a name could not be told, for want of capital letters, or letters of two alphabets look like one word."""
    if text.isascii():
        return False
    letters = [char for char in text if char.isalpha()]
    cased = any(char.lower() != char.upper() for char in letters)
    return not cased or len({_alphabet(char) for char in letters}) > 1


def _alphabet(letter: str) -> int:
    """0 for Greek, 1 for Cyrillic, 2 for any other letter."""
    return 0 if "\u0370" <= letter < "\u0400" else 1 if "\u0400" <= letter < "\u0530" else 2
