"""A word-level tokenizer for the synthetic world, saved and loaded like any other.

Words and punctuation are tokens, white space is not: decoding puts it back by rule, so a quoted fact comes out as it
stands in its passage. Knows no model and no reward.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, END = "<|pad|>", "<|unknown|>", "<|end|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
TAGS = ("<think>", "</think>", "<retrieval>", "</retrieval>", "Answer:")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Make a tokenizer that knows every word in `texts`; any other word is unknown.

    The tags of the answer format are added as ordinary tokens: special ones would be lost, because GRPO decodes
    with `skip_special_tokens`.

    >>> tokenizer = word_tokenizer(["Ada hired Boris."])
    >>> tokenizer.decode(tokenizer("<retrieval>Ada hired Boris.</retrieval>").input_ids, skip_special_tokens=True)
    '<retrieval> Ada hired Boris. </retrieval>'
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Whitespace()
    words = {word for text in texts for word, _ in split.pre_tokenize_str(text)}
    special = [PAD, UNKNOWN, END, SYSTEM, USER, ASSISTANT]
    vocabulary = [*special, *TAGS, *sorted(words.difference(special, TAGS))]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token=UNKNOWN))
    core.pre_tokenizer = split
    spaced = decoders.WordPiece(prefix="##", cleanup=True)
    core.decoder = decoders.Sequence([spaced, decoders.Replace(" :", ":")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        extra_special_tokens=[SYSTEM, USER, ASSISTANT],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
