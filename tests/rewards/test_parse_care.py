from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.parse_care import CareOutput, parse_care

GOOD = "<think>First <retrieval>Emma is an 1815 novel.</retrieval> so.</think> Answer: 1815"


def test_well_formed_output_is_read_without_problems():
    assert parse_care(GOOD) == CareOutput(
        think="First <retrieval>Emma is an 1815 novel.</retrieval> so.",
        spans=("Emma is an 1815 novel.",),
        answer="1815",
        problems=(),
    )


def test_white_space_before_the_thought_is_no_problem():
    assert parse_care(f" \n\t{GOOD}\n").problems == ()


def test_spans_keep_their_order_and_their_text_as_written():
    text = "<think><retrieval> b\n</retrieval>x<retrieval>a</retrieval><retrieval> b\n</retrieval></think>Answer:x"
    assert parse_care(text).spans == (" b\n", "a", " b\n")


def test_last_answer_behind_the_last_end_of_thought_wins():
    assert parse_care("<think>Answer: Rome</think> Answer: Paris Answer: Lisbon").answer == "Lisbon"
    assert parse_care("<think></think> Answer: Rome <think> Answer: Paris </think> Answer: Oslo").answer == "Oslo"


def test_answer_inside_the_thought_is_no_answer():
    assert parse_care("<think>Answer: Rome</think> it is Rome").answer is None
    assert parse_care("<think></think> Answer: Rome <think> Answer: Paris </think>").answer is None


def test_without_an_end_of_thought_there_is_no_answer():
    assert parse_care("Answer: Rome").answer is None
    assert parse_care("<think> so Answer: Rome").answer is None


def test_answer_reaches_to_the_end_over_several_lines():
    assert parse_care("<think></think>\nAnswer:\n  Rome,\nItaly \n").answer == "Rome,\nItaly"


def test_spans_outside_the_first_think_block_are_not_spans():
    quote = "<retrieval>Emma is a novel.</retrieval>"
    assert parse_care(f"{quote}<think></think>{quote}<think>{quote}</think> Answer: x").spans == ()


def test_spans_of_an_unclosed_thought_are_not_spans():
    assert parse_care("<think><retrieval>Emma is a novel.</retrieval> Answer: x").spans == ()


def test_of_nested_tags_the_innermost_pair_is_the_span():
    out = parse_care("<think><retrieval>a <retrieval>b c</retrieval> d</retrieval></think> Answer: x")
    assert out.spans == ("b c",)
    assert out.problems == ("2 retrieval tags without their partner",)


def test_closing_tag_before_opening_tag_makes_no_span():
    out = parse_care("<think></retrieval>a<retrieval></think> Answer: x")
    assert out.spans == ()
    assert "2 retrieval tags without their partner" in out.problems


def test_other_capitalisation_is_no_tag():
    assert parse_care("<Think><Retrieval>a b c</Retrieval></Think> Answer: x").spans == ()


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "<retrieval>", "</retrieval>", "Answer:", "a b", " ", "<", "</"])
        | st.text(max_size=4),
        max_size=14,
    ).map("".join)
)
def test_any_text_parses_to_parts_of_itself(text):
    out = parse_care(text)
    assert all(span in (out.think or "") for span in out.spans)
    assert (out.think or "") in text
    assert out.answer is None or (out.answer in text and "Answer:" not in out.answer)
    # No problem means that the text can be put together again from what was read.
    if not out.problems:
        assert text.lstrip().startswith(f"<think>{out.think}</think>")
        assert out.spans
        assert out.answer
        assert text.rstrip().endswith(out.answer)
        assert [text.count(tag) for tag in ("<think>", "</think>", "<retrieval>", "</retrieval>")] == [
            1,
            1,
            len(out.spans),
            len(out.spans),
        ]
