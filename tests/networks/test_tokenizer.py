"""Byte pair encoding on a vocabulary of a few merges, whose answers a reader can work out."""

import itertools
import json

import pytest

from fad_onnx.errors import CaptionError, CheckpointError
from fad_onnx.networks import tokenizer
from fad_onnx.networks.tokenizer import LETTERS, BytePairs, Gpt2, Roberta, check_caption

MERGES = [("d", "o"), ("do", "g"), ("Ġ", "dog"), ("a", "a"), ("aa", "aa"), ("Ġ", "a")]
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
TOKENS = [*SPECIAL, *sorted(LETTERS.values()), *("".join(pair) for pair in MERGES), "<mask>"]


def write(folder, tokens=TOKENS, merges=MERGES, head="#version: 0.2\n"):
    """The two files of a vocabulary."""
    numbers = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(numbers), "utf-8")
    lines = "".join(f"{first} {second}\n" for first, second in merges)
    (folder / "merges.txt").write_text(head + lines, "utf-8")
    return {"vocab": folder / "vocab.json", "merges": folder / "merges.txt"}


@pytest.fixture
def roberta(tmp_path):
    return Roberta(write(tmp_path))


def tokens(tokenizer, caption):
    return [TOKENS[number] for number in tokenizer.encode(caption).ids]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("", []),
        ("dog", ["dog"]),
        ("Dog", ["D", "o", "g"]),
        ("a dog", ["a", "Ġdog"]),
        (" dog", ["Ġdog"]),
        ("  dog", ["Ġ", "Ġdog"]),
        ("dog ", ["dog", "Ġ"]),
        ("aaaaa", ["aaaa", "a"]),
        ("dodog", ["do", "dog"]),
        ("a\ndog", ["a", "Ċ", "dog"]),
        ("a's", ["a", "'", "s"]),
        ("a'dog", ["a", "'", "d", "o", "g"]),  # 'd is an ending, as in "he'd"
        ("a'Dog", ["a", "'", "D", "o", "g"]),
        ("a1½", ["a", "1", "Â", "½"]),
        ("é", ["Ã", "©"]),
        ("e\u0301", ["e", "Ì", "ģ"]),  # not normalised
        ("a\0a", ["a", "Ā", "a"]),
        ("a\u2003\u2003dog", ["a", *"âĢĥâĢĥ", "dog"]),
        ("a<mask>", ["a", "<mask>"]),
        ("a  <mask> dog", ["a", "<mask>", "Ġdog"]),
        ("a <pad>dog</s>", ["a", "Ġ", "<pad>", "dog", "</s>"]),
        ("<pad", ["<", "p", "a", "d"]),
    ],
)
def test_tokens_are_those_that_the_merges_say(roberta, caption, expected):
    assert tokens(roberta, caption) == ["<s>", *expected, "</s>"]


def test_captions_are_cut_at_77_tokens_and_say_so(roberta):
    for words in (74, 75, 76, 200):
        encoded = roberta.encode("dog" + " dog" * (words - 1))
        assert len(encoded.ids) == min(77, words + 2)
        assert encoded.cut == (words > 75)
        assert encoded.ids[-1] == TOKENS.index("</s>")


def slowly(ranks, word):
    """As the paper has it: merge all of the earliest pair, and begin again."""
    parts = list(word)
    while pairs := [pair for pair in itertools.pairwise(parts) if pair in ranks]:
        best, merged = min(pairs, key=ranks.__getitem__), []
        while parts:
            step = 2 if tuple(parts[:2]) == best else 1
            merged.append("".join(parts[:step]))
            parts = parts[step:]
        parts = merged
    return parts


def test_merges_are_those_of_the_definition():
    """Every word of up to eight letters over two, with merges that overlap."""
    merges = [("a", "b"), ("a", "a"), ("aa", "ab"), ("b", "b"), ("ab", "ab"), ("bb", "a")]
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    numbers = {token: i for i, token in enumerate(["a", "b", *("".join(pair) for pair in merges)])}
    pairs = BytePairs(numbers, merges, unknown=99)
    for size in range(1, 9):
        for word in map("".join, itertools.product("ab", repeat=size)):
            expected = [numbers[token] for token in slowly(ranks, word)]
            assert list(pairs.encode(word)) == expected, word


@pytest.mark.parametrize("caption", ["a" * 200_000, "dog " * 100_000, " " * 200_000 + "<mask>"])
def test_a_huge_caption_takes_no_huge_time(roberta, caption):
    assert roberta.encode(caption).ids[0] == 0


def test_a_letter_that_the_vocabulary_lacks_is_unknown(tmp_path):
    short = Roberta(write(tmp_path, [token for token in TOKENS if token != "q"]))
    assert short.encode("q").ids == (0, 3, 2)


@pytest.mark.parametrize("caption", ["\ud800", "a dog \udfff"])
def test_half_of_a_surrogate_pair_is_an_error_that_says_where(caption):
    with pytest.raises(CaptionError, match=rf"caption 3: character {len(caption)} is"):
        check_caption(caption, "caption 3")


@pytest.mark.parametrize("caption", [None, 3, b"dog", float("nan")])
def test_what_is_no_text_is_an_error(caption):
    with pytest.raises(CaptionError, match=f"{type(caption).__name__} is not text"):
        check_caption(caption, "caption 1")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("vocab", "{", "not a vocabulary"),
        ("vocab", "[]", "not a vocabulary"),
        ("vocab", '{"a": -1}', "whole numbers"),
        ("vocab", '{"a": "b"}', "whole numbers"),
        ("vocab", '{"a": 1}', "has no token <s>, <pad>, </s>, <unk>, <mask>"),
        ("vocab", "[" * 100_000, "not a vocabulary"),
        ("merges", "#version: 0.2\na b\nab\n", "line 3 is not a pair"),
        ("merges", "a b c\n", "line 1 is not a pair"),
        ("merges", "a b\n\na b\n", "line 2 is not a pair"),
    ],
)
def test_damaged_files_are_errors_that_name_the_place(tmp_path, name, text, problem):
    files = write(tmp_path)
    files[name].write_text(text, "utf-8")
    with pytest.raises(CheckpointError, match=problem):
        Roberta(files)
    files[name].write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="UTF-8"):
        Roberta(files)
    files[name].unlink()
    with pytest.raises(CheckpointError, match="No such file"):
        Roberta(files)


def test_line_ends_and_the_head_of_the_merges_do_not_matter(tmp_path):
    files = write(tmp_path, head="")
    expected = tokenizer.read_merges(files["merges"])
    assert expected == MERGES
    files["merges"].write_bytes(files["merges"].read_bytes().replace(b"\n", b"\r\n"))
    assert tokenizer.read_merges(files["merges"]) == expected


GPT2_TOKENS = [*LETTERS.values(), *("".join(pair) for pair in MERGES), "<|endoftext|>"]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("", ["Ġ"]),
        ("dog", ["dog", "Ġ"]),
        ("a dog", ["a", "Ġdog", "Ġ"]),
        ("dog! dog", ["dog", "!", "Ġdog", "Ġ"]),
        ("dog!!", ["dog", "!", "!", "Ġ"]),  # though "!!" is a merge
        ("a<|endoftext|>dog", ["a", "<|endoftext|>", "dog", "Ġ"]),
        ("<|end", ["<", "|", "e", "n", "d", "Ġ"]),
    ],
)
def test_gpt2_ends_a_caption_and_never_merges_its_padding(tmp_path, caption, expected):
    merges = [*MERGES, ("!", "!")]
    made = Gpt2({"merges": write(tmp_path, merges=merges)["merges"]})
    tokens = [*GPT2_TOKENS[:-1], "!!", "<|endoftext|>"]
    found = made.encode(caption)
    assert [tokens[number] for number in found.ids] == [*expected, "<|endoftext|>"]
    assert not found.cut


def test_gpt2_numbers_letters_by_their_bytes_and_then_merges(tmp_path):
    made = Gpt2({"merges": write(tmp_path)["merges"]})
    assert made.encode("!~\n").ids == (0, 93, 198, 220, 256 + len(MERGES))


def test_gpt2_cuts_at_its_positions_and_says_so(tmp_path):
    made = Gpt2({"merges": write(tmp_path)["merges"]})
    for words in (1022, 1023, 2000):
        encoded = made.encode("dog" + " dog" * (words - 1))
        assert len(encoded.ids) == min(1024, words + 2)
        assert encoded.cut == (words > 1022)
