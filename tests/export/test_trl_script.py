"""The TRL script: TRL's names with this run's values, what has no equivalent said, and code that runs."""

from __future__ import annotations

import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from grpo_tui.config.load import load_config
from grpo_tui.config.schema import ALGORITHM_NAMES
from grpo_tui.export.trl_script import NEVER_CLIPS, grpo_arguments, trl_script

TRL_NAMES = """output_dir seed max_steps per_device_train_batch_size gradient_accumulation_steps steps_per_generation
    num_generations num_iterations max_completion_length temperature top_p top_k shuffle_dataset loss_type
    importance_sampling_level scale_rewards epsilon epsilon_high delta beta sapo_temperature_pos sapo_temperature_neg
    vespo_k_pos vespo_k_neg vespo_lambda_pos vespo_lambda_neg use_bias_correction_kl reward_weights
    mask_truncated_completions learning_rate lr_scheduler_type warmup_steps weight_decay adam_beta1 adam_beta2
    adam_epsilon max_grad_norm bf16 gradient_checkpointing use_cpu logging_steps save_steps save_total_limit
    report_to"""
"""Those of ``GRPOConfig`` and ``TrainingArguments`` in TRL 1.16 and transformers 5 that scripts use."""


def config(*overrides: str, preset: str = "tiny") -> Any:
    return load_config(preset=preset, overrides=overrides)


@pytest.mark.parametrize("name", ALGORITHM_NAMES)
def test_every_algorithm_gives_a_script_of_known_names(name: str) -> None:
    made = config(f"algorithm.name={name}")
    arguments, gaps = grpo_arguments(made)
    assert set(arguments) <= set(TRL_NAMES.split())
    script = trl_script(made, name)
    compile(script, "train_trl.py", "exec")
    for gap in gaps:
        assert f"#   - {gap}" in script


LOSSES = [
    (
        "grpo",
        {"loss_type": "grpo", "beta": 0.04, "scale_rewards": "group", "importance_sampling_level": "token"},
    ),
    ("bnpo", {"loss_type": "bnpo"}),
    ("dr_grpo", {"loss_type": "dr_grpo", "scale_rewards": "none", "beta": 0.0}),
    ("dapo", {"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28}),
    (
        "gspo",
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    ),
    ("cispo", {"loss_type": "cispo", "epsilon_high": 5.0}),
    ("sapo", {"loss_type": "sapo", "sapo_temperature_neg": 1.05}),
    ("luspo", {"loss_type": "luspo", "importance_sampling_level": "sequence"}),
    ("vespo", {"loss_type": "vespo", "vespo_k_pos": 2.0, "vespo_lambda_neg": 2.0}),
]


@pytest.mark.parametrize(("name", "expected"), LOSSES)
def test_losses_by_trls_names(name: str, expected: dict[str, Any]) -> None:
    # The same pairs as in tests/algorithms/test_trl.py, where the losses are compared.
    arguments, gaps = grpo_arguments(
        config(f"algorithm.name={name}", "algorithm.beta=0.04", "groups.resample_tries=0", "eval.every=0")
    )
    assert {key: arguments[key] for key in expected} == {
        **expected,
        **({"beta": 0.04} if "beta" in expected else {}),
    }
    assert [gap for gap in gaps if "bnpo" not in gap] == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["algorithm.name=trpo"], "trust_region"),
        (["algorithm.name=ppo"], "critic"),
        (["algorithm.name=rloo"], "RLOOTrainer"),
        (["algorithm.name=reinforce"], "'ema'"),
        (["algorithm.name=grpo_basic"], "sequence_product"),
        (["algorithm.kl_estimator=k1"], "k3 stands in"),
        (["algorithm.kl_in=reward"], "left out"),
        (["groups.resample_tries=2"], "not replaced"),
        (["groups.max_group_size=16"], "do not grow"),
        (["run.max_tokens=1000"], "max_steps alone"),
        (["eval.every=5"], "held-out accuracy"),
    ],
)
def test_what_has_no_equivalent_is_said(overrides: list[str], said: str) -> None:
    made = config("eval.every=0", *overrides)
    assert any(said in gap for gap in grpo_arguments(made)[1])
    assert said in trl_script(made, "r")


def test_batches_multiply_to_a_step() -> None:
    for overrides in (
        ["sampling.prompts_per_step=6", "sampling.group_size=4"],
        ["sampling.prompts_per_step=4", "algorithm.num_minibatches=2", "algorithm.num_epochs=3"],
        ["sampling.prompts_per_step=3", "sampling.group_size=4", "algorithm.num_minibatches=2"],
    ):
        made = config(*overrides, "run.steps=7")
        arguments, _ = grpo_arguments(made)
        per_step = made.sampling.prompts_per_step * made.sampling.group_size
        assert arguments["per_device_train_batch_size"] * arguments["steps_per_generation"] == per_step
        updates = made.algorithm.num_minibatches * made.algorithm.num_epochs
        assert arguments["max_steps"] == 7 * updates
        assert arguments["num_iterations"] == made.algorithm.num_epochs


def test_no_clip_is_a_bound_that_never_acts() -> None:
    arguments, _ = grpo_arguments(config("algorithm.clip=none"))
    assert arguments["epsilon"] == arguments["epsilon_high"] == NEVER_CLIPS


def test_a_name_cannot_break_out_of_the_script() -> None:
    script = trl_script(config(), 'x"""\nimport os\n"""\\')
    compile(script, "train_trl.py", "exec")
    assert not re.search(r"^import os", script, re.MULTILINE)


class Trl:
    """Takes the place of ``trl``: keeps what it was given."""

    def __init__(self) -> None:
        self.trainer: dict[str, Any] = {}

    def module(self) -> ModuleType:
        module = ModuleType("trl")
        module.GRPOConfig = lambda **settings: SimpleNamespace(**settings)  # type: ignore[attr-defined]
        module.GRPOTrainer = lambda **given: self.trainer.update(given)  # type: ignore[attr-defined]
        return module


def test_the_script_runs_and_pays_as_the_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    trl = Trl()
    monkeypatch.setitem(sys.modules, "trl", trl.module())
    made = config("data.limit=5", "reward.weights.format=0.1", "sampling.max_completion_tokens=20")
    exec(compile(trl_script(made, "r"), "train_trl.py", "exec"), {"__name__": "script"})
    given = trl.trainer
    rows = given["train_dataset"]
    assert len(rows) == 5
    assert given["args"].reward_weights == [1.0, 0.1]
    math, form = given["reward_funcs"]
    assert (math.__name__, form.__name__) == ("math", "format")
    row = rows[0]
    paid = math(
        prompts=[row["prompt"]] * 2,
        completions=[
            [{"role": "assistant", "content": f"The answer is {row['answer']}."}],
            "The answer is 123456.",
        ],
        completion_ids=[[1] * 5, [1] * 20],
        answer=[row["answer"]] * 2,
        question=[row["question"]] * 2,
        problem_id=[row["problem_id"]] * 2,
    )
    assert paid == [1.0, 0.0]
    math.reward.close()
    assert given["peft_config"].r == made.model.lora_rank


def test_trl_takes_the_arguments() -> None:
    trl = pytest.importorskip("trl", minversion="1.16.0")
    for name in ALGORITHM_NAMES:
        arguments, _ = grpo_arguments(config(f"algorithm.name={name}", "model.device=cpu"))
        trl.GRPOConfig(**arguments)
