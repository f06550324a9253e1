"""The official scorings, written out from their published algorithms, step by step and with nothing of ours.

LongBench: `metrics.py` (`qa_f1_score`) and `eval.py` of its release. LoCoMo: `task_eval/evaluation.py` of its release.
Time-Dialog: `eval/calculate_scores_rl.py` of the Memory-T1 release. SQuAD: the script of version 1.1.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from datetime import datetime

import regex
from nltk.stem import PorterStemmer

STEMMER = PorterStemmer()


def squad_words(text: str) -> str:
    without_marks = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", without_marks).split())


def squad_exact_match(answer: str, gold: str) -> bool:
    return squad_words(answer) == squad_words(gold)


def bag_score(ours: list[str], theirs: list[str]) -> float:
    same = sum((Counter(ours) & Counter(theirs)).values())
    if same == 0:
        return 0
    precision = 1.0 * same / len(ours)
    recall = 1.0 * same / len(theirs)
    return (2 * precision * recall) / (precision + recall)


def longbench_qa_f1(answer: str, gold: str) -> float:
    return bag_score(squad_words(answer).split(), squad_words(gold).split())


def longbench_score(answer: str, golds: list[str]) -> float:
    best = 0.0
    for gold in golds:
        best = max(best, longbench_qa_f1(answer, gold))
    return best


def locomo_words(text: str) -> list[str]:
    text = text.replace(",", "").lower()
    text = "".join(char for char in text if char not in set(string.punctuation))
    return [STEMMER.stem(word) for word in regex.sub(r"\b(a|an|the|and)\b", " ", text).split()]


def locomo_f1(answer: str, gold: str) -> float:
    return bag_score(locomo_words(answer), locomo_words(gold))


def locomo_score(answer: str, gold: str, category: int) -> float:
    if category == 3:
        gold = gold.split(";")[0].strip()
    if category in (2, 3, 4):
        return locomo_f1(answer, gold)
    if category == 1:
        answers = [part.strip() for part in answer.split(",")]
        golds = [part.strip() for part in gold.split(",")]
        return sum(max(locomo_f1(one, other) for one in answers) for other in golds) / len(golds)
    return 1 if "no information available" in answer.lower() or "not mentioned" in answer.lower() else 0


def released_time_dialog(answer: str, gold: str) -> tuple[float, int]:
    """F1 and exact match of the released script."""
    answer = answer.strip()
    option = re.search(r"^[A-Z][\.\)\s]|^[A-Z]$", answer)
    ours, theirs = (_pieces(_released_date(text)) for text in (option.group()[0] if option else answer, gold.strip()))
    same = len(ours & theirs)
    return (2 * same / (len(ours) + len(theirs)) if same else 0.0), int(ours == theirs)


def _released_date(text: str) -> str:
    if "T" in text:
        try:
            return datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").strftime("%Y-%m-%d")
        except ValueError:
            return text
    for form in ("%B %d, %Y", "%Y-%m-%d", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%b %d, %Y", "%d %B %Y"):
        try:
            return datetime.strptime(text, form).strftime("%Y-%m-%d")
        except ValueError:
            continue
    return text


def _pieces(text: str) -> set[str]:
    text = text.strip()
    return set(text.replace(")(", ") (").split()) if "(" in text and ")" in text else set(text.split())
