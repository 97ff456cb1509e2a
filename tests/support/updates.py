"""What the engine tells of an update, made up but consistent: for the Update room's tests and pictures."""

from __future__ import annotations

import numpy as np

from grpo_tui.events.update_records import (
    AnswerMove,
    AnswerPull,
    GradientChange,
    LossChoice,
    LossComparison,
    LossRow,
    Mismatch,
    MismatchCause,
    TokenMismatch,
    TokenMove,
    TokenPull,
    TwinComparison,
    TwinResult,
    UpdatePreview,
    UpdateReceipt,
)

OWN = LossChoice("as it is")
RLOO = LossChoice("rloo", (("algorithm.name", "rloo"),))
TIGHT = LossChoice("clip none", (("algorithm.clip", "none"),))
PPO = LossChoice("ppo", (("algorithm.name", "ppo"),))


def preview(
    step: int, *, change: bool = False, text: str = " 4", skipped: str = "", sampled: bool = False
) -> UpdatePreview:
    """Six answers of two groups."""
    if skipped:
        return UpdatePreview(step=step, learning_rate=1e-5, skipped=skipped)
    answers = tuple(
        AnswerPull(
            group=i % 2,
            completion=i // 2,
            advantage=1.5 - i,
            num_tokens=9 + i,
            contribution=None if i == 5 else 0.5 - 0.15 * i,
            predicted=0.02 * (1.5 - i),
        )
        for i in range(6)
    )
    return UpdatePreview(
        step=step,
        learning_rate=1e-5,
        num_gradient_steps=2,
        norm=2.5,
        max_norm=1.0,
        module_norms=((f"layers.3.self_attn.v_proj{text}", 1.2), ("layers.0.mlp.up_proj", 0.4)),
        num_modules=28,
        step_norm=0.0361,
        answers=answers,
        num_answers=64 if sampled else 6,
        tokens=(TokenPull(group=0, completion=1, token=3, text=text, weight=0.0125),),
        num_tokens=76,
        change=GradientChange(norm_before=2.5, norm_after=1.9, cosine=0.871) if change else None,
        notes=(text,),
        seconds=0.4,
    )


def what_if(step: int, *, after_update: bool = False, text: str = "") -> LossComparison:
    """Four losses, one of which cannot be."""
    rows = (
        LossRow(choice=OWN, norm=0.059, weight_abs_mean=0.00146, num_tokens=76),
        LossRow(choice=RLOO, norm=0.587, weight_abs_mean=0.0152, num_tokens=76, zero_share=0.25),
        LossRow(choice=TIGHT, norm=0.059, weight_abs_mean=0.00146, num_tokens=76, same_as=0),
        LossRow(choice=PPO, unavailable=text or "'gae' needs a critic from the start, and this run has none"),
    )
    nan = np.nan
    cosine = [[1, -0.42, 1, nan], [-0.42, 1, -0.42, nan], [1, -0.42, 1, nan], [nan] * 4]
    return LossComparison(
        step=step,
        rows=rows,
        cosine_N_N=np.array(cosine, np.float32),
        num_parameters=233_000,
        after_update=after_update,
        ratio_spread=0.0113 if after_update else 0.0,
        seconds=3.1,
    )


def receipt(step: int, *, text: str = " 4") -> UpdateReceipt:
    """Four answers: one the wrong way, one that nobody wanted to move."""
    moves = (
        (0, 1, 1.2, -0.30, 0.02),
        (0, 0, 1.2, 0.42, 0.40),
        (1, 0, -0.8, -0.11, None),
        (1, 1, 0.0, 0.01, 0.02),
    )
    answers = tuple(
        AnswerMove(
            group=group,
            completion=completion,
            advantage=advantage,
            delta_T=np.array([realised], np.float32),
            realised=realised,
            predicted=predicted,
        )
        for group, completion, advantage, realised, predicted in moves
    )
    return UpdateReceipt(
        step=step,
        answers=answers,
        tokens=(TokenMove(group=0, completion=1, token=2, text=text, delta=-0.29),),
        kl=1.3e-6,
        kl_positions=60,
        num_positions=76,
        seconds=0.2,
    )


def twins(step: int, *, text: str = "'gae' needs a critic from the start") -> TwinComparison:
    """Three updates, one of which cannot be."""
    return TwinComparison(
        step=step,
        results=(
            TwinResult(
                choice=OWN,
                kl=1.3e-6,
                right=0.013,
                wrong=-0.021,
                num_as_wanted=5,
                num_wanted=6,
                step_norm=0.036,
                num_correct=3,
            ),
            TwinResult(
                choice=RLOO,
                kl=2.9e-6,
                right=0.031,
                wrong=0.004,
                num_as_wanted=4,
                num_wanted=6,
                step_norm=0.037,
                num_correct=5,
            ),
            TwinResult(choice=PPO, unavailable=text),
        ),
        num_right=2,
        num_wrong=4,
        kl_positions=76,
        num_probes=8,
        correct_before=3,
        seconds=1.9,
    )


def mismatch(step: int, *, text: str = " 4") -> Mismatch:
    """A fold that went wrong."""
    return Mismatch(
        step=step,
        num_tokens=76,
        mean=0.0213,
        largest=0.41,
        kl=0.00037,
        tokens=(TokenMismatch(group=1, completion=0, token=4, text=text, sampled=-1.21, trained=-1.62),),
        causes=(
            MismatchCause(
                name="folded adapter", mean=0.0312, largest=0.41, detail="adapter added into the weights"
            ),
            MismatchCause(name="dtype", mean=4.1e-7, largest=3.6e-6, detail=text),
            MismatchCause(name="dropout", detail="lora_dropout is 0"),
            MismatchCause(name="sampling filter", mean=0.2, largest=0.5, detail="top_k 20", recorded=False),
        ),
        num_checked=4,
        num_answers=6,
        likely="folded adapter",
        seconds=1.1,
    )
