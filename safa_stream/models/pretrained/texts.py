"""Text models of transformers: loaded without pickles, and what of a text they did not understand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from safa_stream.errors import ModelError
from safa_stream.models.pretrained.checkpoint import library_class
from safa_stream.models.pretrained.quiet import quiet
from safa_stream.models.pretrained.weights import find_weights

#: Tensors that early versions of transformers stored and later ones compute.
COMPUTED = ("position_ids",)


def load_text_model(folder: Path, class_name: str) -> Any:
    """A model of transformers in eval mode and single precision, from safetensors only.

    transformers maps names of tensors between versions and between a model and its heads, so it is left to it which
    tensor goes where. Raises ModelError where the folder, its weights or single tensors are missing or damaged.
    """
    import torch

    if not folder.is_dir():
        raise ModelError(f"{folder.parent} is incomplete: the folder {folder.name} is missing")
    find_weights(folder, "model")
    cls = library_class("transformers", class_name)
    try:
        with quiet():
            model, report = cls.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError, TypeError, KeyError) as error:
        raise ModelError(f"{folder} cannot be loaded as a {class_name}: {_line(error)}") from error
    missing = sorted(name for name in report["missing_keys"] if not name.endswith(COMPUTED))
    missing += sorted(str(name) for name in report.get("mismatched_keys", ()))
    if missing:
        raise ModelError(f"the weights in {folder} are no {class_name}: {len(missing)} missing ({missing[0]})")
    return model.float().eval().requires_grad_(False)


def load_tokenizer(folder: Path, class_name: str) -> Any:
    """A tokenizer of the class. Raises ModelError where its files are missing or damaged."""
    if not folder.is_dir():
        raise ModelError(f"{folder.parent} is incomplete: the folder {folder.name} is missing")
    cls = library_class("transformers", class_name)
    try:
        with quiet():
            return cls.from_pretrained(folder, local_files_only=True)
    except ImportError as error:
        raise ModelError(f"{class_name} needs more than transformers: pip install 'safa-stream[torch]'") from error
    except Exception as error:  # damaged files raise anything, from the tokenizers' own library too
        raise ModelError(f"{folder} holds no {class_name}: {_line(error)}") from error


def not_understood(tokenizer: Any, text: str, longest: int) -> tuple[str, ...]:
    """The words of a text that its model is not told: those past `longest` tokens, and those that it has no token for.

    longest: in tokens, those that the tokenizer adds included.
    """
    with quiet():
        told = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    tokens, places = told["input_ids"], told["offset_mapping"]
    inner = [at for at, special in enumerate(told["special_tokens_mask"]) if not special]
    room = longest - (len(tokens) - len(inner))
    cut = places[inner[room]][0] if len(inner) > max(0, room) else len(text)
    unknown = [places[at] for at in inner[: max(0, room)] if tokens[at] == tokenizer.unk_token_id]
    found, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        stop = start + len(word)
        if stop > cut or any(start < high and low < stop for low, high in unknown):
            found.append(word)
        start = stop
    return tuple(found)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
