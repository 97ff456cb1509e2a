"""What transformers needs to be told, and spared, to load a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any


def unpacked(gguf_file: str) -> dict[str, Any]:
    """Ask for plain weights: packed ones, the default since transformers 5, need a kernel and compute in fp32 only."""
    import transformers

    config = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": config(gguf_file=gguf_file, dequantize=True)} if config else {}


@contextmanager
def read_once() -> Iterator[None]:
    """Within, a file's metadata is read once.

    transformers reads it four times (tokenizer, config, config of the model, weights), two seconds each for a vocabulary of
    49,152 words, and makes the table of names anew for each module: seven seconds of seventeen.
    """
    try:
        import gguf
    except ImportError:  # transformers will say so
        yield
        return
    theirs = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    vars(gguf).update({name: lru_cache(function) for name, function in theirs.items()})
    try:
        yield
    finally:
        vars(gguf).update(theirs)
