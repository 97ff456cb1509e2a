"""The adapter of a run as a folder that PEFT and inference servers load, without what only training needs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from grpo_tui.export.errors import ExportError
from grpo_tui.export.files import whole_folder
from grpo_tui.runs.checkpoints import complete
from grpo_tui.runs.schema import CHECKPOINTS

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def find_checkpoint(run_dir: Path, step: int | None = None) -> tuple[int, Path]:
    """The checkpoint of a step, or the newest: (its step, its folder).

    Raises:
        ExportError: there is none.
        RunFileError: the folder cannot be read.
    """
    found = complete(run_dir / CHECKPOINTS)
    if not found:
        raise ExportError(
            f"{run_dir} has no checkpoint yet; one is written every run.checkpoint_every steps and on stopping"
        )
    if step is None:
        step = max(found)
    if step not in found:
        kept = ", ".join(map(str, found))
        raise ExportError(
            f"{run_dir} keeps no checkpoint of step {step}, only of {kept} (run.keep_checkpoints says how many)"
        )
    return step, found[step]


def write_adapter(run_dir: Path, out: Path, *, step: int | None = None, replace: bool = False) -> int:
    """Write a step's adapter, or the newest, as a PEFT folder; return its step.

    Raises:
        ExportError: there is no such checkpoint, or ``out`` exists and is not to be replaced.
        RunFileError: the disk refuses.
    """
    step, checkpoint = find_checkpoint(run_dir, step)
    with whole_folder(out, replace=replace) as folder:
        for name in (WEIGHTS, SETTINGS):
            shutil.copyfile(checkpoint / name, folder / name)
        card = _model_card(folder / SETTINGS, run_dir.name, step)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return step


def _model_card(settings: Path, run: str, step: int) -> str:
    try:
        base = str(json.loads(settings.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (ValueError, KeyError) as error:
        raise ExportError(f"{settings.name} of step {step} is damaged; export another step") from error
    quoted = json.dumps(base)
    return (
        f"---\nbase_model: {quoted}\nlibrary_name: peft\ntags: [lora, grpo, grpo-tui]\n---\n\n"
        f"LoRA adapter of step {step} of the grpo-tui run `{run}`.\n\n"
        "```python\n"
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n\n"
        f"model = AutoModelForCausalLM.from_pretrained({quoted})\n"
        'model = PeftModel.from_pretrained(model, "THIS FOLDER")\n'
        "```\n"
    )
