"""Would a model fit? An estimate from its shape and the settings, in microseconds and without torch.

Arithmetic, not a measurement: ``grpo-tui doctor --fit MODEL`` really runs the worst step. The parts, in bytes (N parameters of
b bytes each, L layers, hidden width h, kv = key/value heads × head size, inner width i, T tokens at once):

    weights      N·b
    twin         N·b − vocabulary            the sampler's copy of the layers below a billion parameters (``generation/folded.py``);
                                             of a small model in bf16 on a CPU N·b, and it stays (``generation/native.py``)
    adapter      20·r·Σ(in + out)            float32, its gradient, AdamW's two moments, a snapshot
    cache        T·L·2·kv·b                  of the rows decoded together
    activations  T·L·(8h + 2kv + 4i + 2s)·b  kept for the backward pass; with checkpointing T·h·b a layer and one layer's;
                                             s = heads × length on a CPU with short rows (``policy/attention.py``), else 0

Sampling and updating follow one another, so the larger of twin with cache and activations counts, beside a twin that stays. For the activations see Korthikanti
et al. 2022 (arXiv 2205.05198, section 4.1), here without dropout. Against what ``doctor --fit`` measured on a CPU: 1.65 MB
a token for 1.69 (SmolLM2-135M in float32), 0.13 for 0.17 (the bundled model, 16 rows of 366 tokens).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grpo_tui.config.local_models import ModelShape
from grpo_tui.config.schema import RunConfig

PROMPT_TOKENS = 150
"""Assumed of a prompt: no problem was read yet."""
MARGIN = 0.1
"""Share of the free memory that is left alone."""
SMALL_PARAMETERS = 50_000_000
"""Smaller models stay in float32 on a CPU (``policy/loading.py``)."""
SHORT_ROWS = 1 << 17
"""Up to this square of a row's length a CPU keeps attention probabilities (``policy/attention.py``)."""
COPIED_PARAMETERS = 1_000_000_000
"""Below this the sampler copies the layers for as long as it samples (``generation/folded.py``)."""
STAYING_BYTES = 300 << 20
"""A copy laid out for compiled decoding stays from one sampling to the next up to this size (``generation/native.py``)."""
ROWS_AT_ONCE = 256
"""Most rows that a sampler decodes together (``generation/drawing.py``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitEstimate:
    """Bytes by part. ``available_bytes`` is what was free when it was asked for; 0: unknown."""

    dtype: str
    weights: int
    twin: int
    adapter: int
    cache: int
    activations: int
    available_bytes: int
    twin_stays: bool = False
    """Whether the twin is there while weights are updated too."""

    @property
    def total(self) -> int:
        """At the worst moment of a step."""
        staying = self.twin if self.twin_stays else 0
        return self.weights + self.adapter + staying + max(self.sampling, self.activations)

    @property
    def sampling(self) -> int:
        """What is there only while completions are sampled."""
        return self.cache + (0 if self.twin_stays else self.twin)

    @property
    def fits(self) -> bool | None:
        """Whether a tenth of the free memory would be left; None where that is unknown."""
        return self.total <= self.available_bytes * (1 - MARGIN) if self.available_bytes else None


def estimate_fit(
    config: RunConfig, shape: ModelShape, *, on_gpu: bool, available_bytes: int
) -> FitEstimate | None:
    """What a worst step would take; None where the model's files do not say enough.

    Args:
        config: the run's settings.
        shape: of the model.
        on_gpu: whether it would be trained there.
        available_bytes: free memory of that device.
    """
    if not (shape.num_parameters and shape.num_layers and shape.hidden_size):
        return None
    dtype = config.model.dtype
    if dtype == "auto":
        native = on_gpu or (_cpu_has_bf16() and shape.num_parameters >= SMALL_PARAMETERS)
        dtype = "bf16" if native else "fp32"
    width = 2 if dtype == "bf16" else 4
    sampling = config.sampling
    length = PROMPT_TOKENS + sampling.max_completion_tokens
    rows = sampling.prompts_per_step * sampling.group_size
    tokens = min(max(config.optim.max_tokens_per_microbatch, length), rows * length)
    key_value = shape.num_kv_heads * shape.head_size
    scores = 2 * shape.num_heads * length if not on_gpu and length**2 <= SHORT_ROWS else 0
    of_layer = (8 * shape.hidden_size + 2 * key_value + 4 * shape.intermediate_size + scores) * width
    kept = shape.num_layers * of_layer
    if config.optim.gradient_checkpointing:
        kept = shape.num_layers * shape.hidden_size * width + of_layer
    weights = shape.num_parameters * width
    twin = weights - width * min(shape.num_parameters, shape.vocab_size * shape.hidden_size)
    stays = not on_gpu and dtype == "bf16" and weights <= STAYING_BYTES and _cpu_has_bf16()
    if stays:
        twin = weights  # its head too
    return FitEstimate(
        dtype=dtype,
        weights=weights,
        twin=twin if shape.num_parameters < COPIED_PARAMETERS else 0,
        twin_stays=stays,
        adapter=20 * config.model.lora_rank * _widths(config, shape),
        cache=min(rows, ROWS_AT_ONCE) * length * shape.num_layers * 2 * key_value * width,
        activations=tokens * kept,
        available_bytes=available_bytes,
    )


def _widths(config: RunConfig, shape: ModelShape) -> int:
    """Inputs and outputs of all layers that get an adapter, summed."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    query, key = shape.num_heads * shape.head_size, shape.num_kv_heads * shape.head_size
    layers = {
        "q_proj": hidden + query,
        "k_proj": hidden + key,
        "v_proj": hidden + key,
        "o_proj": query + hidden,
        "gate_proj": hidden + inner,
        "up_proj": hidden + inner,
        "down_proj": inner + hidden,
    }
    targets = config.model.lora_targets
    chosen = [width for name, width in layers.items() if name in targets] or list(layers.values())
    return shape.num_layers * sum(chosen)


def _cpu_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return " avx512_bf16" in flags or " amx_bf16" in flags
