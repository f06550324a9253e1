"""The dialogue world: only person and resolved day together lead to the answer, and gold earns the most."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import date

import pytest

from rewards import Sample, presets
from rlkit.data.dialogues import LEVELS, MAX_SESSIONS, TOLD, USUAL, draw_memory, from_source, generate
from rlkit.data.facts import split_of
from rlkit.data.load import load_source
from rlkit.errors import ConfigError


def told(session):
    (said,) = session["utterances"]
    (event,) = said["events"]
    return said["speaker"], event["start"], said["text"].rstrip(".").split()[-1]


def asked(record):
    words = record["question"].replace(",", "").split()
    return words[5], words[1]


@pytest.mark.parametrize("level", LEVELS)
def test_answer_follows_from_one_session_and_from_no_shortcut(level):
    for record in generate(level, 200, seed=5):
        person, day = asked(record)
        sessions = {session["id"]: session for session in record["sessions"]}
        visits = {name: told(session) for name, session in sessions.items()}
        right = [name for name, visit in visits.items() if visit[:2] == (person, day)]
        assert right == record["evidence"]
        assert record["golds"] == [visits[right[0]][2]]
        others = [visit for name, visit in visits.items() if name != right[0]]
        assert any(who == person for who, _, _ in others), "the person alone must not decide"
        assert any(who != person and when == day for who, when, _ in others), "the day alone must not decide"
        assert any(place == record["golds"][0] for _, _, place in others), "right answers can cite a wrong session"
        on_the_day = [name for name, session in sessions.items() if session["date"] == day]
        if level != "easy":
            assert sessions[right[0]]["date"] > day, "told later than it happened"
            assert any(visits[name][0] == person for name in on_the_day), "the session of the asked day misleads"
        else:
            assert right[0] in on_the_day


def test_words_and_events_agree():
    seen = set()
    for record in generate("hard", 200, seed=6):
        for session in record["sessions"]:
            (said,) = session["utterances"]
            words = next(words for words in TOLD if said["text"].startswith(words))
            day = date.fromisoformat(said["events"][0]["start"])
            assert (date.fromisoformat(session["date"]) - day).days == TOLD[words]
            assert said["events"][0]["end"] == said["events"][0]["start"]
            seen.add(words)
    assert seen == set(TOLD)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("asks", ["place", "date"])
def test_gold_output_earns_more_than_any_other_selection(level, asks):
    reward = presets.memory_t1()
    for record in generate(level, 25, seed=7, asks=asks, demonstrations=True):
        gold = reward(Sample.from_record(record))
        assert gold.maximum == pytest.approx(1.0 if asks == "place" else 0.8)
        if asks == "date" or level == "easy":
            assert gold.total == pytest.approx(gold.maximum)
        ids = [session["id"] for session in record["sessions"]]
        for selected in ([], ids, *([name] for name in ids if name not in record["evidence"])):
            other = json.dumps({"selected_memory": selected, "answer": record["golds"][0]})
            assert reward(Sample.from_record(record, completion=other)).total < gold.total - 0.1


def test_sessions_stand_in_the_order_of_their_days():
    for record in generate("long", 50, seed=8):
        dates = [session["date"] for session in record["sessions"]]
        numbers = [int(session["id"].split("_")[1]) for session in record["sessions"]]
        assert dates == sorted(dates)
        assert numbers == sorted(set(numbers))


def guesses(record):
    """What one could choose without resolving any words, as ids or places; those that are told of on the day excepted."""
    person, day = asked(record)
    sessions = record["sessions"]
    mine = [session for session in sessions if told(session)[0] == person]
    after = [session for session in mine if session["date"] > day]
    places = [told(session)[2] for session in sessions]
    return {
        "first": sessions[0]["id"],
        "last": sessions[-1]["id"],
        "person's first": mine[0]["id"],
        "person's middle": mine[len(mine) // 2]["id"],
        "person's last": mine[-1]["id"],
        "person's first after the day": after[0]["id"] if after else None,
        "person's last after the day": after[-1]["id"] if after else None,
        "first after the day": next((session["id"] for session in sessions if session["date"] > day), None),
        "first place told of most often": max(places, key=places.count),
        "last place told of most often": max(reversed(places), key=places.count),
    }


@pytest.mark.parametrize("level", LEVELS)
def test_no_shortcut_is_right_much_more_often_than_half_the_time(level):
    right = dict.fromkeys(guesses(next(generate(level, 1))), 0)
    for record in generate(level, 400, seed=4):
        for name, guess in guesses(record).items():
            right[name] += guess in (record["evidence"][0], record["golds"][0])
    assert max(right.values()) < 0.6 * 400, right


def test_same_rows_in_another_process_and_for_any_number_of_rows():
    code = "import json; from rlkit.data.dialogues import generate; print(json.dumps(list(generate('hard', 20, 3))))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONHASHSEED": "1"})
    rows = list(generate("hard", 30, 3))
    assert json.loads(other.stdout) == rows[:20]
    assert rows != list(generate("hard", 30, 4))


@pytest.mark.parametrize("level", LEVELS)
def test_the_usual_place_is_a_guess_of_the_given_share_and_counterfactual_rows_refute_it(level):
    for share, counterfactual in ((0.8, False), (0.8, True), (0.3, False)):
        rows = list(generate(level, 400, seed=2, typical=share, counterfactual=counterfactual))
        right = sum(USUAL[asked(row)[0]] == row["golds"][0] for row in rows)
        if counterfactual:
            assert right == 0
        else:
            assert abs(right / len(rows) - share - (1 - share) / 16) < 0.07
        others = [told(s) for row in rows for s in row["sessions"] if s["id"] not in row["evidence"]]
        assert abs(sum(USUAL[who] == place for who, _, place in others) / len(others) - share) < 0.07


@pytest.mark.parametrize("level", LEVELS)
def test_a_usual_place_changes_no_person_and_no_day(level):
    for record in generate(level, 100, seed=5, typical=0.8, counterfactual=True):
        person, day = asked(record)
        visits = {session["id"]: told(session) for session in record["sessions"]}
        assert [name for name, visit in visits.items() if visit[:2] == (person, day)] == record["evidence"]
        assert record["golds"] == [visits[record["evidence"][0]][2]]
        assert any(who == person for name, (who, _, _) in visits.items() if name not in record["evidence"])


def test_without_usual_places_rows_are_what_they_were():
    row = next(generate("hard", 1, seed=3))
    assert (row["golds"], row["evidence"]) == (["Elvanor"], ["session_11"])
    assert list(generate("hard", 20, seed=3)) == list(generate("hard", 20, seed=3, typical=0, counterfactual=False))


def memory_of(record):
    return sorted((*told(session), session["date"]) for session in record["sessions"])


def test_no_test_memory_occurs_in_training():
    seen = {
        split: {str(memory_of(record)) for seed in range(3) for record in generate("easy", 100, seed, split=split)}
        for split in ("train", "test")
    }
    assert len(seen["test"]) > 290
    assert not seen["train"] & seen["test"]


def test_the_split_is_decided_by_the_content():
    for split in ("train", "test"):
        talks = draw_memory(random.Random(1), 5, split=split)
        assert split_of(map(str, reversed(talks))) == split


def test_shares_of_what_is_asked_are_met():
    kinds = [record["kind"] for record in generate("hard", 1000, 9, asks={"place": 0.8, "date": 0.2})]
    assert 150 < kinds.count("time") < 250
    assert set(kinds) == {"text", "time"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "hrad"}, "Did you mean 'hard'"),
        ({"split": "dev"}, "split: 'dev'"),
        ({"rows": 0}, "rows: 0"),
        ({"seed": -1}, "seed: -1"),
        ({"sessions": 4}, "sessions: 4 is not a number of sessions from 5"),
        ({"sessions": []}, "the list is empty"),
        ({"sessions": [4, MAX_SESSIONS + 1]}, f"to {MAX_SESSIONS}"),
        ({"sessions": True}, "sessions: True"),
        ({"asks": "time"}, "asks: 'time' is unknown"),
        ({"asks": {"place": 0.0}}, "all shares are zero"),
        ({"asks": {"place": float("nan")}}, "share nan"),
        ({"demonstrations": 1}, "demonstrations: 1"),
        ({"counterfactual": "yes"}, "counterfactual: 'yes' is not true or false"),
        ({"typical": 1.1}, "typical: 1.1 is not a share"),
        ({"typical": True}, "typical: True is not a share"),
        ({"typical": float("nan")}, "typical: nan"),
        ({"typical": 0.5, "asks": {"place": 1, "date": 1}}, "asks: date has no one answer"),
    ],
)
def test_wrong_options_are_refused_before_the_first_row(options, message):
    with pytest.raises(ConfigError, match=message):
        generate(**options)


def test_the_largest_memory_can_be_drawn():
    assert len(next(generate("hard", 1, sessions=MAX_SESSIONS))["sessions"]) == MAX_SESSIONS


def test_a_source_entry_gives_the_same_rows_and_errors_name_its_path():
    spec = {"format": "dialogues", "level": "hard", "rows": 5, "seed": 3, "sessions": [5, 6]}
    assert list(from_source(spec, "sources.hard")) == list(generate("hard", 5, 3, sessions=[5, 6]))
    with pytest.raises(ConfigError, match=r"^sources\.hard\.sessions: 2 is"):
        from_source({**spec, "sessions": 2}, "sources.hard")
    with pytest.raises(ConfigError, match=r"^sources\.hard\.session: .* Did you mean 'sessions'"):
        from_source({**spec, "session": 2}, "sources.hard")


def test_the_world_is_a_source_like_the_others(tmp_path):
    spec = {"format": "dialogues", "level": "hard", "rows": 20, "seed": 3, "asks": {"place": 1, "date": 1}}
    options = {key: value for key, value in spec.items() if key != "format"}
    loaded = load_source({**spec, "demonstrations": True}, "sources.hard", cache_dir=tmp_path)
    assert list(loaded.records()) == list(generate(**options, demonstrations=True))
    assert len(load_source({**spec, "limit": 5}, "sources.hard", cache_dir=tmp_path).rows) == 5
    with pytest.raises(ConfigError, match=r"^sources\.hard\.facts: no such key"):
        load_source({**spec, "facts": 4}, "sources.hard", cache_dir=tmp_path)
