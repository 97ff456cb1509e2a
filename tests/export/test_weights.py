"""The adapter as PEFT loads it, and merged into the base: the same log-probs either way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from grpo_tui.data.bundled import bundled_path
from grpo_tui.export.adapter import find_checkpoint, write_adapter
from grpo_tui.export.errors import ExportError
from grpo_tui.export.merged import write_merged

IDS = torch.tensor([[5, 9, 2, 14, 3, 7]])


def base() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(bundled_path("tiny_model"))


def logprobs(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found = model(IDS).logits.float().log_softmax(-1)
    assert isinstance(found, torch.Tensor)
    return found


def test_the_adapter_loads_with_peft_and_changes_the_model(trained: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    assert write_adapter(trained, tmp_path / "adapter") == 2
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    plain = base()
    before = logprobs(plain)
    adapted = logprobs(PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).eval())
    assert float((adapted - before).abs().max()) > 1e-3


def test_merged_is_base_with_adapter(trained: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_adapter(trained, tmp_path / "adapter", step=1)
    written = write_merged(trained, tmp_path / "merged", step=1)
    assert (written.step, written.dtype) == (1, "float32")
    assert written.deviation < 1e-4
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not hasattr(merged, "peft_config")
    adapted = PeftModel.from_pretrained(base(), str(tmp_path / "adapter")).eval()
    torch.testing.assert_close(logprobs(merged), logprobs(adapted), rtol=0, atol=1e-4)
    assert float((logprobs(merged) - logprobs(base())).abs().max()) > 1e-3
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.decode(tokenizer.encode("Compute 2 + 3.", add_special_tokens=False)) == "Compute 2 + 3."
    assert list((tmp_path / "merged").glob("*.safetensors"))


def test_merged_in_another_precision(trained: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    written = write_merged(trained, tmp_path / "merged", dtype="bf16")
    assert written.dtype == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype is torch.bfloat16


def test_a_step_that_is_not_kept(trained: Path, recorded: Path, tmp_path: Path) -> None:
    assert find_checkpoint(trained)[0] == 2
    with pytest.raises(ExportError, match=r"keeps no checkpoint of step 9, only of 1, 2 "):
        write_adapter(trained, tmp_path / "a", step=9)
    with pytest.raises(ExportError, match="has no checkpoint yet"):
        write_adapter(recorded, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_adapter_is_one_line(trained: Path, tmp_path: Path) -> None:
    import shutil

    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    weights = run_dir / "checkpoints" / "step-000002" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ExportError, match="cannot read the adapter in") as error:
        write_merged(run_dir, tmp_path / "merged")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "merged").exists()
