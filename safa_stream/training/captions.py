"""Captions to learn words from: what people call each sound, said alone, with words of style around it, and in twos.

The material is `captions.toml`. A label that it does not know is described by its own words and by its files' names.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

#: A word in the file names of this many labels tells who recorded it or how, not what is heard.
SHARED_BY = 3
#: Shares of the kinds of examples: one sound plain, one with context, two sounds; the rest are mixtures and no sound.
PLAIN, STYLED, TWO = 0.2, 0.25, 0.4
LEADING_SHARE = 0.65


@dataclass(frozen=True, slots=True)
class Material:
    """The parsed `captions.toml`: captions by sound, expressions of several, context, foreign things."""

    sounds: Mapping[str, tuple[str, ...]]
    mixtures: Mapping[str, Mapping[str, float]]
    before: tuple[str, ...]
    after: tuple[str, ...]
    even: tuple[str, ...]
    leading: tuple[str, ...]
    other: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A caption and the shares of the sounds in it, [L + 1]; the last entry stands for none of them."""

    text: str
    shares: Array


@cache
def load_material() -> Material:
    """Read the data file that lies beside this module."""
    data = tomllib.loads(files("safa_stream.training").joinpath("captions.toml").read_text(encoding="utf-8"))
    context = {name: _listed(text) for name, text in data["context"].items()}
    return Material(
        sounds={
            name: (*(word.replace("-", " ") for word in entry["words"].split()), *_listed(entry["phrases"]))
            for name, entry in data["sounds"].items()
        },
        mixtures=data["mixtures"],
        before=context["before"],
        after=context["after"],
        even=context["even"],
        leading=context["leading"],
        other=(*data["other"]["words"].split(), *_listed(data["other"]["phrases"])),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in (" ".join(item.split()) for item in text.split(",")) if part)


def sections(labels: Sequence[str], material: Material) -> dict[str, str]:
    """Which entry of the material serves which label: the entry of that name, or one whose name is a word of the label.

    An entry that two labels could claim ("light rain", "heavy rain") serves neither: their own words tell them apart.
    """
    words = {label: [label.replace(" ", ""), *re.split(r"[^a-z]+", label.lower())] for label in labels}
    claims = {
        label: next((s for w in own for s in (w, w + "s", w.removesuffix("s")) if s in material.sounds), None)
        for label, own in words.items()
    }
    taken = Counter(claims.values())
    return {label: name for label, name in claims.items() if name and (taken[name] == 1 or label == name)}


def informative(titles: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """File titles by label without the words that `SHARED_BY` or more labels share; repeated and empty ones go."""
    spread = Counter(w for listed in titles.values() for w in {w for title in listed for w in title.lower().split()})
    limit = SHARED_BY if len(titles) > SHARED_BY else len(titles) + 1
    return {
        label: tuple(
            dict.fromkeys(
                kept for title in listed if (kept := " ".join(w for w in title.lower().split() if spread[w] < limit))
            )
        )
        for label, listed in titles.items()
    }


def captions_by_label(
    labels: Sequence[str], titles: Mapping[str, Sequence[str]], material: Material
) -> dict[str, tuple[str, ...]]:
    """Everything that may be said for each label: its name, the material's captions, its files' titles.

    A title that is another label's caption ("rain", heard under water) is not one of its own.
    """
    served, told = sections(labels, material), informative(titles)
    known = {label: (label.replace("_", " "), *material.sounds.get(served.get(label, ""), ())) for label in labels}
    owners = {text: label for label, listed in known.items() for text in listed}
    return {
        label: tuple(dict.fromkeys((*known[label], *(t for t in told.get(label, ()) if owners.get(t, label) == label))))
        for label in labels
    }


class ExampleMaker:
    """Draws examples without end from the captions of a set of labels; one generator, hence repeatable."""

    def __init__(
        self, labels: Sequence[str], captions: Mapping[str, Sequence[str]], material: Material, seed: int
    ) -> None:
        self.labels, self.captions, self.material = tuple(labels), captions, material
        self.draw = np.random.default_rng(seed)
        served = {name: self.labels.index(label) for label, name in sections(labels, material).items()}
        self.mixtures = [
            (text, self._shares({served[s]: p for s, p in parts.items()}))
            for text, parts in material.mixtures.items()
            if set(parts) <= set(served)
        ]
        own = {text for listed in captions.values() for text in listed if " " not in text}
        own |= {word for label in labels for word in label.split()}
        self.foreign = [text for text in material.other if not own & set(text.split())]

    def _shares(self, parts: Mapping[int, float]) -> Array:
        shares = np.zeros(len(self.labels) + 1, np.float32)
        shares[list(parts)] = list(parts.values())
        return shares

    def _pick(self, options: Sequence[str]) -> str:
        return options[int(self.draw.integers(len(options)))]

    def _caption(self, label: int) -> str:
        return self._pick(self.captions[self.labels[label]])

    def _styled(self, text: str) -> str:
        kind = self.draw.random()
        if kind < 0.7:
            text = f"{self._pick(self.material.before)} {text}"
        if kind > 0.4:
            text = f"{text} {self._pick(self.material.after)}"
        return text

    def example(self) -> Example:
        """The next one."""
        kind = self.draw.random()
        label = int(self.draw.integers(len(self.labels)))
        text, shares = self._caption(label), self._shares({label: 1.0})
        if kind < PLAIN:
            return Example(text, shares)
        if kind < PLAIN + STYLED:
            return Example(self._styled(text), shares)
        if kind < PLAIN + STYLED + TWO and len(self.labels) > 1:
            return self._two(label, text)
        if kind < PLAIN + STYLED + TWO + 0.07 and self.mixtures:
            text, shares = self.mixtures[int(self.draw.integers(len(self.mixtures)))]
            return Example(self._styled(text) if self.draw.random() < 0.3 else text, shares)
        if not self.foreign:
            return Example(text, shares)
        text = self._pick(self.foreign)
        return Example(self._styled(text) if self.draw.random() < 0.4 else text, self._shares({len(self.labels): 1.0}))

    def _two(self, first: int, said: str) -> Example:
        second = (first + 1 + int(self.draw.integers(len(self.labels) - 1))) % len(self.labels)
        other = self._caption(second)
        if self.draw.random() < 0.3:
            said = f"{self._pick(self.material.before)} {said}"
        if self.draw.random() < 0.3:
            other = f"{self._pick(self.material.before)} {other}"
        even = self.draw.random() < 0.65
        text = self._pick(self.material.even if even else self.material.leading).format(a=said, b=other)
        share = 0.5 if even else LEADING_SHARE
        return Example(text, self._shares({first: share, second: 1.0 - share}))
