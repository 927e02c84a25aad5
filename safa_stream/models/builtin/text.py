"""Free words to shares of the sounds that the model knows, and to a semantic vector that picks recordings' styles.

    prompt ─ words ─ vectors v_i ─┬─ attention ─► mean m ──┬─► semantic vector
                                  └─ hidden(v_i, m) ─ gate ─┴─► shares of the sounds, and of "none of these"

Shapes: V words, D features of a word, H hidden, L sounds, N words of a prompt, S = 32 semantic features.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safa_stream.errors import ModelError
from safa_stream.models.builtin.features import Array

SEMANTIC_SIZE = 32
TENSORS = (
    "words", "vectors", "scale", "attention",
    "semantic_direct", "semantic_hidden", "semantic_hidden_bias", "semantic_out",
    "word_hidden", "phrase_hidden", "hidden_bias", "gate", "sounds", "sounds_bias",
)  # fmt: skip
#: Words that carry nothing; they are passed over and never reported.
STOP_WORDS = frozenset(
    """a an the this that these those some any each every my your his her its our their i you he she it we they me us
    them is are am was were be been being do does did has have had having of to in on at by for from as into onto upon
    over
    through across about around along against with within and or nor plus also while when where then than so too very
    just only s t d ll re ve m there here which who whose what how if can could should would will shall may might
    please like near beside besides between both up out off down there's it's etc via per both""".split()
)
#: What follows these words is not wanted, up to the next connecting word or comma.
NEGATIONS = frozenset({"without", "no", "not"})
CONNECTORS = frozenset({"and", "with", "but", "plus", "over", "near", "by", "while", "then"})
SHORTEST_PART, SHORTEST_TYPO = 3, 6
#: Between clauses that may each name a sound of its own, and how sure of itself such a clause must be.
CLAUSE_BREAK = re.compile(r"\b(?:and|with|plus|over|while|beside|near|by)\b|[,;&+]", re.IGNORECASE)
CLAUSE_CONFIDENCE = 0.6
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class TextResult:
    """What a prompt means.

    sounds: [L] shares that sum to 1; semantic: [S] of unit length (zeros where no word is known); unknown_words: as
    typed, in order; confidence: 0..1, the share of the meaning that the model's sounds cover (below 0.5: the prompt
    asks for something else and the nearest sounds stand in).
    """

    sounds: Array
    semantic: Array
    unknown_words: tuple[str, ...]
    confidence: float


def split_words(text: str) -> list[str]:
    """Lower-case words and commas of a text; accents and possessives go, everything else separates."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return re.findall(r"[a-z]+|[,;.]", re.sub(r"'s\b|'", "", plain))


def wanted_words(words: Iterable[str]) -> list[str]:
    """Without stop words, commas, and what a negation ("without thunder") takes away."""
    kept, negated = [], False
    for word in words:
        if word in NEGATIONS:
            negated = True
        elif word in CONNECTORS or not word.isalpha():
            negated = False
        elif word not in STOP_WORDS and len(word) > 1 and not negated:
            kept.append(word)
    return kept


class Lexicon:
    """Which rows of the vocabulary a word stands for, with fall-backs for words that are not in it."""

    def __init__(self, words: Sequence[str]) -> None:
        self.rows = {word: row for row, word in enumerate(words)}

    def look_up(self, word: str) -> tuple[int, ...]:
        """Rows of the word, of its stem, of the two words that it is made of, or of its likeliest correction."""
        for form in _forms(word):
            if form in self.rows:
                return (self.rows[form],)
        return self._compound(word) or self._corrected(word)

    def indices(self, text: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Rows of all wanted words of a text, and the words that nothing was found for."""
        rows: list[int] = []
        unknown: list[str] = []
        words = wanted_words(self._joined(split_words(text)))
        for word in words:
            found = self.look_up(word)
            rows.extend(found)
            if not found and word not in unknown:
                unknown.append(word)
        return tuple(rows), tuple(unknown)

    def _joined(self, words: list[str]) -> Iterator[str]:
        """Neighbours that are one word elsewhere ("water fall", "under water") become that word."""
        position = 0
        while position < len(words):
            pair = words[position : position + 2]
            whole = "".join(pair)
            fits = len(pair) == 2 and min(map(len, pair)) >= SHORTEST_PART and not {*pair} & CONNECTORS
            if fits and whole in self.rows and (pair[0] not in STOP_WORDS and pair[1] not in STOP_WORDS):
                yield whole
                position += 2
            else:
                yield pair[0]
                position += 1

    def _compound(self, word: str) -> tuple[int, ...]:
        best: tuple[int, ...] = ()
        for cut in range(SHORTEST_PART, len(word) - SHORTEST_PART + 1):
            parts = [next((self.rows[f] for f in _forms(p) if f in self.rows), None) for p in (word[:cut], word[cut:])]
            found = tuple(row for row in parts if row is not None)
            if len(found) == 2 and (not best or max(found) < max(best)):
                best = found
        return best

    def _corrected(self, word: str) -> tuple[int, ...]:
        if len(word) < SHORTEST_TYPO:
            return ()
        found = [self.rows[near] for near in set(_one_edit_away(word)) if near in self.rows]
        return (min(found),) if found else ()


def _forms(word: str) -> Iterator[str]:
    """The word, then simpler forms of it: without plural, -ing, -ed, -ly, -y, -er."""
    yield word
    if word.endswith("ies"):
        yield word[:-3] + "y"
    for ending in ("s", "es", "ing", "ings", "ed", "ly", "y", "er", "ers", "ish"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= SHORTEST_PART:
            yield stem
            yield stem + "e"
            if stem[-1] == stem[-2]:
                yield stem[:-1]


def _one_edit_away(word: str) -> Iterator[str]:
    for i in range(len(word) + 1):
        head, tail = word[:i], word[i:]
        if tail:
            yield head + tail[1:]
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
        for letter in _LETTERS:
            yield head + letter + tail
            if tail:
                yield head + letter + tail[1:]


class TextEncoder:
    """Immutable after loading; `encode` is a pure function of the text."""

    def __init__(self, tensors: Mapping[str, np.ndarray[Any, Any]], labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.lexicon = Lexicon(decode_words(tensors["words"]))
        self.vectors = tensors["vectors"]
        self._t = {name: np.asarray(tensors[name], np.float32) for name in TENSORS[2:]}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray[Any, Any]], config: Mapping[str, Any]) -> TextEncoder:
        """From a model file's tensors below `text.` (named as in `TENSORS`) and its configuration's "text" part.

        config: `{"labels": [...]}`, the sounds in order; further entries say where the vocabulary comes from.

        Raises:
            ModelError: a tensor is missing or does not fit the others.
        """
        missing = [name for name in TENSORS if name not in tensors]
        if missing or "labels" not in config:
            raise ModelError(f"the model's text part is incomplete: no {', '.join(missing) or 'labels'}")
        own = tensors
        encoder = cls(own, list(config["labels"]))
        rows, size = own["vectors"].shape
        hidden = own["gate"].shape[0]
        wanted = {
            "words": own["words"].shape, "vectors": (len(encoder.lexicon.rows), size), "scale": (size,),
            "attention": (size + 1,), "semantic_direct": (size, SEMANTIC_SIZE),
            "word_hidden": (size, hidden), "phrase_hidden": (size, hidden), "hidden_bias": (hidden,),
            "sounds": (hidden, len(encoder.labels) + 1), "sounds_bias": (len(encoder.labels) + 1,),
        }  # fmt: skip
        for name, shape in wanted.items():
            if own[name].shape != shape:
                raise ModelError(f"the model's tensor text.{name} has shape {own[name].shape}, expected {shape}")
        return encoder

    def word_vectors(self, rows: Sequence[int]) -> Array:
        """Rows of the vocabulary as vectors [N, D]."""
        return np.asarray(self.vectors[list(rows)].astype(np.float32) * self._t["scale"], np.float32)

    def encode(self, text: str) -> TextResult:
        """What a prompt means; see `TextResult`. A text of unknown words alone has equal shares and confidence 0."""
        rows, unknown = self.lexicon.indices(text)
        count = len(self.labels)
        if not rows:
            nothing = np.zeros(SEMANTIC_SIZE, np.float32)
            return TextResult(np.full(count, 1.0 / count, np.float32), nothing, unknown, 0.0)
        t = self._t
        vectors = self.word_vectors(rows)
        rarity = np.log1p(np.array(rows, np.float32)) / np.log1p(np.float32(len(self.vectors)))
        attention = _softmax(vectors @ t["attention"][:-1] + rarity * t["attention"][-1])
        mean = attention @ vectors
        hidden = np.maximum(vectors @ t["word_hidden"] + mean @ t["phrase_hidden"] + t["hidden_bias"], 0.0)
        pooled = _softmax(hidden @ t["gate"]) @ hidden
        shares = _softmax(pooled @ t["sounds"] + t["sounds_bias"])
        inside = 1.0 - float(shares[-1])
        known = len(rows) / (len(rows) + len(unknown))
        sounds = _softmax((pooled @ t["sounds"] + t["sounds_bias"])[:count])
        return TextResult(sounds, self._semantic(mean), unknown, inside * known)

    def parts(self, text: str) -> list[TextResult]:
        """A text by its clauses ("rain" and "a distant train") where each is sure of a sound of its own, else whole."""
        whole = self.encode(text)
        if any(word in NEGATIONS for word in split_words(text)):
            return [whole]
        clauses = [self.encode(clause) for clause in CLAUSE_BREAK.split(text)]
        sure = [clause for clause in clauses if clause.confidence >= CLAUSE_CONFIDENCE]
        own = {int(clause.sounds.argmax()): clause for clause in reversed(sure)}
        return list(reversed(own.values())) if len(own) > 1 else [whole]

    def _semantic(self, mean: Array) -> Array:
        t = self._t
        bent = np.maximum(mean @ t["semantic_hidden"] + t["semantic_hidden_bias"], 0.0) @ t["semantic_out"]
        vector = mean @ t["semantic_direct"] + bent
        return np.asarray(vector / (np.linalg.norm(vector) + 1e-9), np.float32)


def decode_words(stored: np.ndarray[Any, Any]) -> list[str]:
    """The vocabulary from its tensor: bytes of the words, one a line, most frequent first."""
    return np.asarray(stored, np.uint8).tobytes().decode("ascii").split("\n")


def encode_words(words: Sequence[str]) -> np.ndarray[Any, Any]:
    """The tensor of a vocabulary, uint8."""
    return np.frombuffer("\n".join(words).encode("ascii"), np.uint8).copy()


def _softmax(values: Array) -> Array:
    powers = np.exp(values - values.max())
    return np.asarray(powers / powers.sum(), np.float32)
