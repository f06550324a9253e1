"""The Memory-T1 output format: what is found, what is rejected and why, and that hostile text costs little."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.parse_memory import MAX_DEPTH_LEVELS, MAX_OBJECTS, memory_format, parse_memory, session_key
from rewards.sample import Sample

RIGHT = '{"selected_memory": ["session_3", "session_5"], "answer": "B"}'


@pytest.mark.parametrize(
    "text",
    [
        RIGHT,
        f"```json\n{RIGHT}\n```",
        f"```\n{RIGHT}\n```\n\nExplanation: {{it}} is B.",
        f"One line of prose first.\n{RIGHT}",
        f'I use a brace {{ and a quote " and {{"broken": json here. {RIGHT}',
        f'The sessions were {{"session_3": {{"date": "2024"}}}}. So: {RIGHT}',
        f"```json\n{RIGHT}\n```\nThus, again:\n```json\n{json.dumps(json.loads(RIGHT), indent=2)}\n```",
        f'<think>First draft: {{"selected_memory": [], "answer": "C"}}</think>\n{RIGHT}',
        '{"answer": "B", "why": "a { brace", "selected_memory": ["session_3", "session_5"]}',
        '{"selected_memory": ["<session_3>", " session_5 ", "session_3"], "answer": "B"}',
    ],
)
def test_the_one_object_is_found_bare_fenced_or_in_prose(text: str) -> None:
    output = parse_memory(text)
    assert (output.selected, output.answer, output.problem, output.ok) == (("session_3", "session_5"), "B", None, True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON object"),
        ("The answer is B.", "no JSON object"),
        ("[]", "no JSON object"),
        ("{}", "no JSON object"),
        ("1", "no JSON object"),
        ("{'selected_memory': [], 'answer': 'B'}", "no JSON object"),
        (RIGHT[:-1], "broken or cut off"),
        (RIGHT[:-6], "broken or cut off"),
        ('{"wrapper": ' + RIGHT, "broken or cut off"),
        ('{"wrapper": ' + RIGHT + "}", 'no key "selected_memory" and no key "answer"'),
        ('{"selected_memory": ["s1"]}', 'no key "answer"'),
        ('{"answer": "B"}', 'no key "selected_memory"'),
        ('{"selected_memory": null, "answer": "B"}', '"selected_memory" is null'),
        ('{"selected_memory": "s1", "answer": "B"}', '"selected_memory" is text'),
        ('{"selected_memory": [["s1"]], "answer": "B"}', '"selected_memory" holds a list'),
        ('{"selected_memory": [null], "answer": "B"}', '"selected_memory" holds null'),
        ('{"selected_memory": [true], "answer": "B"}', '"selected_memory" holds a truth value'),
        ('{"selected_memory": ["s1"], "answer": null}', '"answer" is or holds null'),
        ('{"selected_memory": ["s1"], "answer": NaN}', '"answer" is or holds NaN'),
        ('{"selected_memory": ["s1"], "answer": {"letter": "B"}}', '"answer" is or holds an object'),
        ('{"selected_memory": ["s1"], "answer": [["B"]]}', '"answer" is or holds a list'),
        ('{"selected_memory": ["s1"], "answer": true}', '"answer" is or holds a truth value'),
        ('{"selected_memory": ["s1"], "answer": " "}', '"answer" is empty'),
        ('{"selected_memory": ["s1"], "answer": []}', '"answer" is empty'),
        ('{"selected_memory": ["s1"], "answer": "A", "answer": "B"}', "a key twice"),
        (RIGHT + RIGHT.replace('"B"', '"C"'), "2 JSON objects that say different things"),
        (RIGHT + RIGHT.replace("session_5", "session_6"), "2 JSON objects that say different things"),
        (RIGHT + RIGHT.replace('"B"', "null"), "2 JSON objects that say different things"),
        (RIGHT + " </think>", "no JSON object"),
        ('{"a":' * 100_000, "nested deeper"),
        ('{"selected_memory": ' + "[" * 100_000, "nested deeper"),
        ('{"selected_memory": ' + "[" * 40 + "]" * 40 + ', "answer": "B"}', "nested deeper"),
        ('{"a": "\\\\", "b": ' + "[" * 40 + "]" * 40 + ', "selected_memory": [], "answer": "B"}', "nested deeper"),
        ('{"a": 1} ' * (MAX_OBJECTS + 1), "more than 1000"),
    ],
)
def test_what_cannot_be_read_is_rejected_for_a_stated_reason(text: str, reason: str) -> None:
    output = parse_memory(text)
    assert not output.ok
    assert reason in (output.problem or "")
    assert (output.selected, output.answer) == ((), "")
    assert memory_format()(Sample(completion=text)) == -0.5


def test_brackets_inside_texts_are_no_nesting() -> None:
    answer = "[{" * 100 + '\\" \\\\'
    output = parse_memory('{"selected_memory": ["s1"], "answer": "' + answer + '"}')
    assert output.answer == "[{" * 100 + '" \\'


def test_the_verdict_on_nesting_does_not_depend_on_how_deep_the_caller_stands() -> None:
    texts = [
        '{"x": ' + "[" * depth + closing + ', "selected_memory": ["s1"], "answer": "B"}'
        for depth in (MAX_DEPTH_LEVELS - 1, MAX_DEPTH_LEVELS, 500)
        for closing in ("]" * depth, "x")
    ]

    def parse_at(levels: int) -> list[str | None]:
        return parse_at(levels - 1) if levels else [parse_memory(text).problem for text in texts]

    assert parse_at(700) == parse_at(0)
    assert [problem is None for problem in parse_at(0)] == [True, False, False, False, False, False]


def test_numbers_stay_as_written() -> None:
    output = parse_memory('{"selected_memory": [3, "3"], "answer": [1.50, 12, 1e999]}')
    assert (output.selected, output.answer) == (("3",), ("1.50", "12", "1e999"))
    assert output.answer_text == "1.50, 12, 1e999"
    huge = parse_memory('{"selected_memory": [], "answer": ' + "7" * 100_000 + "}")
    assert huge.answer == "7" * 100_000


def test_session_keys_lose_one_pair_of_brackets_only() -> None:
    assert [session_key(name) for name in ("<s1>", " s1\n", "<<s1>>", "<s1", "<", "<>", "")] == [
        "s1",
        "s1",
        "<s1>",
        "<s1",
        "<",
        "",
        "",
    ]


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=200) | st.text('{}[]":,\\ aB1s"selected_memory"answer\n', max_size=200))
def test_any_text_is_read_or_rejected(text: str) -> None:
    output = parse_memory(text)
    assert output.ok == (output.problem is None)
    assert output.ok or not output.selected


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text(max_size=9), max_size=4),
    st.text(min_size=1, max_size=20).filter(str.strip),
    st.sampled_from(["<|im_end|>", "<|endoftext|>", "</s>", "\n", "<|im_end|></s><pad>"]),
)
def test_appended_chat_tokens_change_nothing(selected: list[str], answer: str, tokens: str) -> None:
    text = json.dumps({"selected_memory": selected, "answer": answer})
    plain, marked = Sample(completion=text).memory, Sample(completion=text + tokens).memory
    assert plain == marked
    assert plain.ok


@pytest.mark.parametrize(
    "unit",
    [
        "{",
        '{"',
        '{"a":',
        '{"a":x ',
        '{"a":\n"b" ',
        "[",
        '{"a":[',
        '{"a":1}',
        '"',
        "\\",
        '{"\\',
        '{"selected_memory":[],',
        "{ ",
        "a",
    ],
)
def test_a_megabyte_of_hostile_text_costs_less_than_half_a_second(unit: str) -> None:
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    for hostile in (text, '{"' + text, '{"a": [' + "[" * 40 + '"' + text, '{"selected_memory": ["' + text):
        start = time.process_time()
        parse_memory(hostile)
        assert time.process_time() - start < 0.5
