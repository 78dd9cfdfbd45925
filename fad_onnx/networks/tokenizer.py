"""Convert captions to the numbers that a text tower takes: byte-level byte pair encoding.

Sennrich et al. 2016, arXiv:1508.07909, on bytes as GPT-2 introduced it (openai/gpt-2,
src/encoder.py). A vocabulary is a JSON object of tokens and their numbers, and a file of merges,
the most frequent first. Both write bytes as printable letters.

Letters and numbers are those of the Unicode version of this Python.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import islice, pairwise
from pathlib import Path
from typing import Protocol

from ..errors import CaptionError, CheckpointError

# White_Space of the Unicode standard. Python's `\s` also matches U+001C to U+001F, which that of
# the originals does not.
SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
# GPT-2's 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ on a text
# of the same length, in which "a" replaces each letter that no ending has, and "0" each number.
ENDINGS = "delmrstv"
WORDS = re.compile(
    rf"'(?:[stmd]|re|ve|ll)| ?[a{ENDINGS}]+| ?0+| ?[^{SPACES}a{ENDINGS}0]+"
    rf"|[{SPACES}]+(?![^{SPACES}])|[{SPACES}]+"
)
KEPT_WORDS, KEPT_LETTERS = 1 << 16, 64
# Bytes that are printable in Latin-1 represent themselves; the others follow U+00FF.
PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
LETTERS = {
    **{byte: chr(byte) for byte in PRINTABLE},
    **{
        byte: chr(0x100 + place)
        for place, byte in enumerate(sorted(set(range(0x100)) - set(PRINTABLE)))
    },
}


class _Kinds(dict[int, str]):
    """The character classes on which WORDS works."""

    def __missing__(self, code: int) -> str:
        letter, kind = chr(code), unicodedata.category(chr(code))[0]
        if kind == "L" and letter not in ENDINGS:
            letter = "a"
        self[code] = "0" if kind == "N" else letter
        return self[code]


KINDS = _Kinds()


class BytePairs:
    """A vocabulary with its merges.

    Parameters
    ----------
    numbers : mapping of str to int
        The number of each token.
    merges : iterable of (str, str)
        Pairs of tokens that become one, in the order in which they are merged.
    unknown : int
        The number of a token that the vocabulary lacks.
    """

    def __init__(
        self, numbers: Mapping[str, int], merges: Iterable[tuple[str, str]], unknown: int
    ) -> None:
        self._numbers, self._unknown = numbers, unknown
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._kept = lru_cache(KEPT_WORDS)(self._encoded)

    def encode(self, text: str) -> Iterator[int]:
        """The numbers of a text, one by one."""
        for found in WORDS.finditer(text.translate(KINDS)):
            word = text[found.start() : found.end()]
            yield from (self._kept if len(word) <= KEPT_LETTERS else self._encoded)(word)

    def _encoded(self, word: str) -> list[int]:
        letters = [LETTERS[byte] for byte in word.encode()]
        return [self._numbers.get(token, self._unknown) for token in self._merged(letters)]

    def _merged(self, tokens: list[str]) -> list[str]:
        """The tokens after all merges, the earliest rank first, from left to right.

        A heap of pairs in a linked list: a word of a million letters takes seconds, not days.
        """
        size, ranks = len(tokens), self._ranks
        after, before = list(range(1, size + 1)), list(range(-1, size - 1))
        heap = [(ranks[pair], i) for i, pair in enumerate(pairwise(tokens)) if pair in ranks]
        heapify(heap)
        while heap:
            rank, left = heappop(heap)
            right = after[left]
            # A token that was merged into its predecessor is empty.
            if right == size or ranks.get((tokens[left], tokens[right])) != rank:
                continue
            tokens[left], tokens[right] = tokens[left] + tokens[right], ""
            after[left] = after[right]
            if after[left] < size:
                before[after[left]] = left
            for first, second in ((before[left], left), (left, after[left])):
                if first >= 0 and second < size:
                    pair = (tokens[first], tokens[second])
                    if pair in ranks:
                        heappush(heap, (ranks[pair], first))
        return [token for token in tokens if token]


@dataclass(frozen=True)
class Encoded:
    """A caption as numbers, and whether it was cut to the length of the text tower."""

    ids: tuple[int, ...]
    cut: bool


class Tokenizer(Protocol):
    """A tokenizer: from a caption to the input of a text tower."""

    longest: int  # the most numbers of a caption

    def encode(self, caption: str) -> Encoded: ...


class Roberta:
    """RoBERTa's tokenizer as LAION's CLAP uses it: at most 77 numbers, including both ends.

    transformers' RobertaTokenizer with ``truncation=True, max_length=77`` (laion_clap 1.1.7,
    hook.py:58), without its padding. Nothing is normalised. As in the original, the text of a
    special token in a caption becomes that token.

    Parameters
    ----------
    files : mapping of str to Path
        "vocab", a JSON object, and "merges".

    Raises
    ------
    CheckpointError
        If one of them is not a vocabulary.
    """

    longest = 77
    START, END, UNKNOWN = "<s>", "</s>", "<unk>"
    MASK = "<mask>"  # takes the spaces in front of it (tokenization_roberta.py:180)
    SPECIAL = (START, "<pad>", END, UNKNOWN, MASK)

    def __init__(self, files: Mapping[str, Path]) -> None:
        numbers = read_vocabulary(files["vocab"], self.SPECIAL)
        self._special = {token: numbers[token] for token in self.SPECIAL}
        self._pairs = BytePairs(numbers, read_merges(files["merges"]), numbers[self.UNKNOWN])
        self._split = re.compile(f"({'|'.join(self.SPECIAL)})")

    def encode(self, caption: str) -> Encoded:
        """The numbers of a caption."""
        ids, room = [self._special[self.START]], self.longest - 1
        for number in self._numbers(caption):
            if len(ids) == room:
                return Encoded((*ids, self._special[self.END]), cut=True)
            ids.append(number)
        return Encoded((*ids, self._special[self.END]), cut=False)

    def _numbers(self, caption: str) -> Iterator[int]:
        parts = [*self._split.split(caption), ""]  # texts and special tokens in turn
        for text, special in zip(parts[::2], parts[1::2], strict=True):
            yield from self._pairs.encode(text.rstrip() if special == self.MASK else text)
            if special:
                yield self._special[special]


class Gpt2:
    """GPT-2's tokenizer as Microsoft's CLAP uses it.

    transformers' GPT2Tokenizer on the caption, a space and the end (msclap 1.3.4, CLAPWrapper.py,
    preprocess_text), without its padding to 77. There, "!" is the padding and therefore a special
    token, which is never merged with its neighbours. The original does not cut, and fails above
    the 1024 positions of GPT-2; here a longer caption is cut.

    Parameters
    ----------
    files : mapping of str to Path
        "merges", which determine the numbers of all tokens.

    Raises
    ------
    CheckpointError
        If it holds no merges.
    """

    longest = 1024
    END, PAD = "<|endoftext|>", "!"

    def __init__(self, files: Mapping[str, Path]) -> None:
        merges = read_merges(files["merges"])
        tokens = [*LETTERS.values(), *(first + second for first, second in merges), self.END]
        numbers = {token: number for number, token in enumerate(tokens)}
        self._special = {token: numbers[token] for token in (self.END, self.PAD)}
        self._pairs = BytePairs(numbers, merges, numbers[self.END])
        self._split = re.compile(f"({'|'.join(map(re.escape, self._special))})")

    def encode(self, caption: str) -> Encoded:
        """The numbers of a caption."""
        ids = tuple(islice(self._numbers(f"{caption} {self.END}"), self.longest + 1))
        return Encoded(ids[: self.longest], cut=len(ids) > self.longest)

    def _numbers(self, text: str) -> Iterator[int]:
        for part in self._split.split(text):
            if part in self._special:
                yield self._special[part]
            else:
                yield from self._pairs.encode(part)


def read_vocabulary(path: Path, needed: Iterable[str] = ()) -> dict[str, int]:
    """The numbers of all tokens, from a JSON object.

    Raises
    ------
    CheckpointError
        If it is not such an object, or lacks a required token.
    """
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f"not a vocabulary, which is a JSON object: {error}") from error
    if not isinstance(found, dict) or not all(
        type(number) is int and 0 <= number < 1 << 31 for number in found.values()
    ):
        raise CheckpointError(path, "not a vocabulary, which is a JSON object of whole numbers")
    if missing := [token for token in needed if token not in found]:
        raise CheckpointError(path, f"has no token {', '.join(missing)}: not of this model")
    return found


def read_merges(path: Path) -> list[tuple[str, str]]:
    """The pairs of a file of merges, in order; CheckpointError for any other line."""
    lines = read_text(path).replace("\r\n", "\n").split("\n")
    start = 1 if lines[0].startswith("#version") else 0
    pairs = []
    for number, line in enumerate(lines[start:], start + 1):
        first, _, second = line.partition(" ")
        if not line and number == len(lines):
            break
        if not (first and second) or " " in second:
            raise CheckpointError(path, f"line {number} is not a pair of tokens: {line[:40]!r}")
        pairs.append((first, second))
    return pairs


def read_text(path: Path) -> str:
    """The whole file; CheckpointError if it cannot be read or is not UTF-8."""
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise CheckpointError(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise CheckpointError(path, f"not UTF-8 text: {error}") from error


def check_caption(caption: object, where: str) -> str:
    """The caption; CaptionError unless it is text without half of a surrogate pair."""
    if not isinstance(caption, str):
        raise CaptionError(where, f"{type(caption).__name__} is not text")
    try:
        caption.encode()
    except UnicodeEncodeError as error:
        letter = caption[error.start]
        problem = f"character {error.start + 1} is {letter!r}, half of a surrogate pair"
        raise CaptionError(where, f"{problem}, which UTF-8 cannot hold") from error
    return caption


TOKENIZERS: Mapping[str, Callable[[Mapping[str, Path]], Tokenizer]] = {
    "roberta": Roberta,
    "gpt2": Gpt2,
}
