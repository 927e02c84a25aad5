"""Train the words-to-sounds encoder of a model: any labels, any captions, on a vocabulary that exists.

Captions teach it what was said; the vocabulary teaches it the rest: every word that no caption holds is asked to go
where its nearest captions' words go, or to "none of these" when it is near to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from safa_stream.errors import TrainingDataError
from safa_stream.models.builtin.text import TENSORS, Lexicon, decode_words
from safa_stream.training.captions import Array, ExampleMaker, captions_by_label, load_material
from safa_stream.training.vocabulary import phrase_mean

#: Tensors that training a model takes over unchanged.
SHARED = TENSORS[: TENSORS.index("word_hidden")]
HIDDEN = 192
LONGEST = 14
STEPS, BATCH, WORD_BATCH = 1_200, 384, 128
LEARNING_RATE = 4e-3
#: Standard deviation of noise on each of a word's features (a word has unit length), and the share of words left out.
NOISE, DROPPED = 0.035, 0.08
#: A word counts as near to a sound from this cosine on, and how sharply; and how sharply the nearest sound wins.
NEAR, NEAR_WIDTH, SHARPNESS = 0.5, 0.05, 14.0


def train_text(
    labels: Sequence[str],
    titles: Mapping[str, Sequence[str]],
    vocabulary: Mapping[str, np.ndarray[Any, Any]],
    vocabulary_config: Mapping[str, Any],
    report: Callable[[str], None] = lambda line: None,
    seed: int = 0,
    steps: int = STEPS,
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """The tensors and the configuration that `TextEncoder.from_tensors` takes.

    labels: the model's sounds, in its order. titles: captions or file titles by label (may be empty: a label's own
    words are always captions of it). vocabulary: the text tensors of any model, and their configuration. Takes about
    a minute on one core.

    Raises:
        TrainingDataError: no label, or no caption of a label holds a word of the vocabulary.
    """
    if not labels:
        raise TrainingDataError("there is no label to learn words for")
    material = load_material()
    captions = captions_by_label(labels, titles, material)
    lexicon = Lexicon(decode_words(vocabulary["words"]))
    captions = {label: tuple(c for c in listed if lexicon.indices(c)[0]) for label, listed in captions.items()}
    mute = [label for label, listed in captions.items() if not listed]
    if mute:
        report(f"no known word in {', '.join(mute)}: prompts cannot ask for it by name")
        captions.update({label: (label,) for label in mute})
    if len(mute) == len(labels):
        raise TrainingDataError(f"no known word in the labels {', '.join(mute)}; rename the folders or add captions")
    maker = ExampleMaker(labels, captions, material, seed)
    vectors = vocabulary["vectors"].astype(np.float32) * vocabulary["scale"]
    table = torch.from_numpy(np.concatenate([vectors, np.zeros((1, vectors.shape[1]), np.float32)]))
    attention = torch.from_numpy(np.asarray(vocabulary["attention"], np.float32))
    word_rows, word_shares = neighbours(lexicon, vectors, [captions[label] for label in labels])
    report(f"{sum(map(len, captions.values()))} captions of {len(labels)} sounds, {len(word_rows)} other words")

    torch.manual_seed(seed)
    draw = np.random.default_rng(seed + 1)
    size, count = vectors.shape[1], len(labels) + 1
    shapes = {
        "word_hidden": (size, HIDDEN), "phrase_hidden": (size, HIDDEN), "hidden_bias": (HIDDEN,), "gate": (HIDDEN,),
        "sounds": (HIDDEN, count), "sounds_bias": (count,),
    }  # fmt: skip
    weights = {n: (torch.randn(s) * (s[0] ** -0.5 if len(s) > 1 else 0.0)).requires_grad_() for n, s in shapes.items()}
    optimiser = torch.optim.AdamW(list(weights.values()), LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for step in range(steps):
        rows, shares = _batch(maker, lexicon, word_rows, word_shares, draw)
        noisy = table[rows] + NOISE * torch.randn(*rows.shape, size) * (rows >= 0)[..., None]
        mean = phrase_mean(attention, table, rows)
        logits = classify(weights, noisy, rows, mean)
        loss = -(torch.log_softmax(logits, 1) * shares).sum(1).mean()
        torch.autograd.backward(loss)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        if step % 250 == 249:
            report(f"words: step {step + 1} of {steps}, loss {float(loss.detach()):.3f}")
    tensors = {name: np.asarray(vocabulary[name]) for name in SHARED}
    tensors |= {name: w.detach().numpy().astype(np.float32) for name, w in weights.items()}
    return tensors, {**vocabulary_config, "labels": list(labels)}


def classify(weights: Mapping[str, Tensor], vectors: Tensor, rows: Tensor, mean: Tensor) -> Tensor:
    """Logits [B, L + 1] of phrases of word vectors [B, N, D] with rows [B, N] (-1 is padding) and means [B, D]."""
    told = (mean @ weights["phrase_hidden"])[:, None] + weights["hidden_bias"]
    hidden = torch.relu(vectors @ weights["word_hidden"] + told)
    share = torch.softmax((hidden @ weights["gate"]).masked_fill(rows < 0, -1e9), dim=1)
    return (share[..., None] * hidden).sum(1) @ weights["sounds"] + weights["sounds_bias"]


def neighbours(lexicon: Lexicon, vectors: Array, captions: Sequence[Sequence[str]]) -> tuple[Array, Array]:
    """Every word that is not itself a caption: its row [M] and the shares [M, L + 1] that its nearest captions give it.

    A label's prototypes are its one-word captions, or all words of its captions where there are few of those.
    """
    likeness = np.zeros((len(vectors), len(captions)), np.float32)
    own: set[int] = set()
    for number, listed in enumerate(captions):
        found = [lexicon.indices(text)[0] for text in listed]
        single = {rows[0] for rows in found if len(rows) == 1}
        chosen = single if len(single) >= 3 else {row for rows in found for row in rows}
        own |= single
        if chosen:
            cosines = np.sort(vectors @ vectors[sorted(chosen)].T, axis=1)[:, ::-1]
            likeness[:, number] = 0.6 * cosines[:, 0] + 0.4 * cosines[:, : min(3, cosines.shape[1])].mean(1)
    best = likeness.max(1)
    inside = 1.0 / (1.0 + np.exp(-(best - NEAR) / NEAR_WIDTH))
    powers = np.exp(SHARPNESS * (likeness - best[:, None]))
    shares = np.concatenate([inside[:, None] * powers / powers.sum(1, keepdims=True), (1.0 - inside)[:, None]], axis=1)
    rows = np.array(sorted(set(range(len(vectors))) - own))
    return rows, shares[rows].astype(np.float32)


def _batch(
    maker: ExampleMaker, lexicon: Lexicon, word_rows: Array, word_shares: Array, draw: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Word rows [B, N] (-1 is padding) and shares [B, L + 1]: drawn captions, then words that no caption is."""
    listed: list[tuple[int, ...]] = []
    shares: list[Array] = []
    for example in (maker.example() for _ in range(BATCH)):
        rows = lexicon.indices(example.text)[0][:LONGEST]
        if len(rows) > 2:
            rows = tuple(row for row in rows if draw.random() >= DROPPED) or rows
        if rows:
            listed.append(rows)
            shares.append(example.shares)
    nearness = 1.0 - word_shares[:, -1]
    near = np.flatnonzero(nearness > 0.2)
    anywhere = draw.integers(len(word_rows), size=WORD_BATCH)
    if len(near):
        anywhere[: WORD_BATCH // 2] = draw.choice(near, WORD_BATCH // 2)
    for at in anywhere:
        listed.append((int(word_rows[at]),))
        shares.append(word_shares[at])
    for _ in range(WORD_BATCH // 4):
        pair = draw.integers(len(word_rows), size=int(draw.integers(2, 5)))
        listed.append(tuple(int(r) for r in word_rows[pair]))
        shares.append(word_shares[pair].mean(0))
    width = max(map(len, listed))
    padded = torch.tensor([list(rows) + [-1] * (width - len(rows)) for rows in listed])
    return padded, torch.from_numpy(np.stack(shares))
