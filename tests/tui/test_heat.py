"""Channels and buckets, and the reasons there are none. No screen."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grpo_tui.events.records import CompletionRecord, FloatArray
from grpo_tui.tui.heat import (
    BUCKETS,
    BY_ID,
    CHANNELS,
    SIDE,
    UNKNOWN,
    Glance,
    bucket_of_units,
    mono_by_default,
    role_of,
    scale_of,
    shade_of,
    stopped_tokens,
)
from grpo_tui.tui.panels.tokens import next_channel
from grpo_tui.tui.tokens import layout_of, units_of
from tests.support.looking import inspected
from tests.tui.test_tokens import made

SEQUENTIAL, DIVERGING, RATIO = BY_ID["entropy"], BY_ID["weight"], BY_ID["ratio"]


def floats(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float32)


def buckets(channel: Any, *values: float) -> list[int]:
    found: list[int] = scale_of(channel, floats(*values)).buckets_T.tolist()
    return found


def test_a_sequential_channel_fills_eight_buckets_evenly() -> None:
    assert buckets(SEQUENTIAL, *np.linspace(0, 1, 800).tolist())[::100] == list(range(8))
    assert buckets(SEQUENTIAL, 0.0, 4.0, 2.0) == [0, 7, 4]
    scale = scale_of(BY_ID["logprob"], floats(0.0, -1.0, -4.0))
    assert scale.buckets_T.tolist() == [0, 2, 7], "a log-prob counts by its distance from 0"
    assert scale.low == 0.0
    assert scale.high == pytest.approx(-3.88)


def test_a_diverging_channel_has_a_middle_and_two_sides() -> None:
    assert buckets(DIVERGING, -4.0, -2.0, 0.0, 1.0, 4.0) == [-4, -2, 0, 1, 4]
    assert buckets(DIVERGING, 0.0, 1e-6, -1e-6, 1.0) == [0, 1, -1, 4], (
        "the faintest push is seen, with its sign"
    )
    scale = scale_of(DIVERGING, floats(-1.0, 3.0, 3.0))
    assert scale.low == pytest.approx(-scale.high)


def test_a_ratio_is_counted_from_one_in_factors() -> None:
    assert buckets(RATIO, 1.0, 2.0, 0.5) == [0, 4, -4], "twice and half as likely are equally far"
    scale = scale_of(RATIO, floats(1.0, 2.0, 0.5))
    assert scale.low == pytest.approx(1 / scale.high)


def test_one_outlier_does_not_take_all_the_shades() -> None:
    values = [*np.linspace(0, 1, 99).tolist(), 1000.0]
    assert len(set(buckets(SEQUENTIAL, *values))) == BUCKETS


def test_what_is_no_number_is_unknown() -> None:
    assert buckets(SEQUENTIAL, np.nan, 1.0, np.inf) == [UNKNOWN, 7, 7], (
        "but what is infinite is the most there is"
    )
    assert buckets(DIVERGING, np.nan, np.nan) == [UNKNOWN, UNKNOWN]


@given(
    values=hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(width=32)),
    channel=st.sampled_from(CHANNELS),
)
def test_buckets_are_always_in_range(values: FloatArray, channel: Any) -> None:
    with np.errstate(all="ignore"):
        found = scale_of(channel, values).buckets_T
    low, high = (-SIDE, SIDE) if channel.diverging else (0, BUCKETS - 1)
    assert all(b == UNKNOWN or low <= b <= high for b in found.tolist())
    for bucket in set(found.tolist()):
        role_of(bucket, diverging=channel.diverging)
        assert len(shade_of(bucket, diverging=channel.diverging)) == 1


def test_a_unit_takes_the_strongest_of_its_tokens() -> None:
    completion = made("a漢b", [0, 1, 1, 1, 2])
    found = bucket_of_units(np.array([1, 2, -4, 3, UNKNOWN], dtype=np.int8), units_of(completion))
    assert found == [1, -4, UNKNOWN]


def test_every_bucket_has_a_shade_and_a_role_of_its_own() -> None:
    diverging = range(-SIDE, SIDE + 1)
    assert len({shade_of(b, diverging=True) for b in diverging}) == len(diverging), (
        "told apart without colour"
    )
    assert len({role_of(b, diverging=True) for b in diverging}) == len(diverging)
    assert len({role_of(b, diverging=False) for b in range(BUCKETS)}) == BUCKETS
    shades = [shade_of(b, diverging=False) for b in range(BUCKETS)]
    assert shades == sorted(shades, key=" ·░▒▓█".index)


# --- what a channel says ------------------------------------------------------------------------------------


def looked(completion: CompletionRecord | None = None, **changes: Any) -> Glance:
    base = completion or replace(
        made("abcdef", [0, 1, 2, 3, 4, 5]),
        logprobs_T=floats(-1, -2, -3, -1, -2, -3),
        entropies_T=floats(1, 2, 3, 1, 2, 3),
        advantage=0.5,
    )
    return Glance(**{"completion": base, "step": 7, "updated": True, "missing": "no look yet", **changes})


def reason(channel: str, glance: Glance) -> str:
    reading = BY_ID[channel].read(glance)
    assert reading.values_T is None
    return reading.reason


def test_a_ratio_that_is_one_by_construction_says_so() -> None:
    glance = looked(replace(looked().completion, weight_T=floats(1, 2, 3, 4, 5, 6)))
    assert "1 by construction" in reason("ratio", glance)
    assert "after the update" in reason("ratio", looked(updated=False))
    assert "no update is recorded" in reason("ratio", looked())
    moved = replace(glance.completion, ratio_T=floats(1, 1, 1, 1.1, 1, 1))
    assert BY_ID["ratio"].read(looked(moved)).values_T is moved.ratio_T


def test_a_constant_weight_says_so_instead_of_a_flat_block() -> None:
    flat = looked(replace(looked().completion, weight_T=np.full(6, 0.0833, dtype=np.float32)))
    said = reason("weight", flat)
    assert "same weight 0.083" in said
    assert "advantage +0.50" in said
    nothing = looked(replace(looked().completion, weight_T=np.zeros(6, dtype=np.float32)))
    assert "every token is clipped or masked" in reason("weight", nothing)
    dead = looked(replace(nothing.completion, advantage=0.0))
    assert "its advantage is 0" in reason("weight", dead)
    assert "weighed by the update" in reason("weight", looked(updated=False))


def test_kl_ref_that_was_not_measured() -> None:
    assert "phase reference" in reason("kl_ref", looked(updated=False))
    assert "not measured" in reason("kl_ref", looked())
    zero = looked(replace(looked().completion, kl_ref_T=np.zeros(6, dtype=np.float32)))
    assert "kl_ref is 0.000 at every token" in reason("kl_ref", zero)


def test_the_change_is_now_minus_sampled_and_honest_about_the_weights() -> None:
    completion = looked().completion
    seen = inspected(completion, step=7, group=0, finished_steps=7)
    reading = BY_ID["change"].read(looked(inspected=seen))
    assert reading.values_T is not None
    np.testing.assert_array_equal(reading.values_T, seen.now.logprobs_T - completion.logprobs_T)
    assert reading.note == ""
    later = inspected(completion, step=7, group=0, finished_steps=9)
    assert "after step 9, not 7" in BY_ID["change"].read(looked(inspected=later)).note
    early = inspected(completion, step=7, group=0, finished_steps=6)
    assert "step 7 is not updated yet" in reason("change", looked(inspected=early, updated=False))
    assert reason("change", looked()) == "no look yet"


def test_what_training_made_likelier_is_now_minus_base() -> None:
    seen = inspected(looked().completion, step=7, group=0)
    values = BY_ID["learnt"].read(looked(inspected=seen)).values_T
    assert values is not None
    np.testing.assert_array_equal(values, seen.now.logprobs_T - seen.base.logprobs_T)
    same = replace(seen, now=seen.base)
    assert "adapter changes nothing" in reason("learnt", looked(inspected=same))


@pytest.mark.parametrize("channel", ["logprob", "entropy"])
def test_log_probs_and_entropies_are_of_the_weights_looked_through(channel: str) -> None:
    completion = looked().completion
    seen = inspected(completion, step=7, group=0)
    name = "logprobs_T" if channel == "logprob" else "entropies_T"
    read = BY_ID[channel].read
    assert read(looked(completion, inspected=seen)).values_T is getattr(completion, name)
    assert read(looked(completion, inspected=seen, source="base")).values_T is getattr(seen.base, name)
    assert read(looked(completion, inspected=seen, source="now")).values_T is getattr(seen.now, name)
    assert reason(channel, looked(source="base")) == "no look yet"


def test_tokens_that_the_clip_stopped() -> None:
    completion = looked().completion
    assert not stopped_tokens(completion).any()
    weighed = replace(completion, weight_T=floats(0.1, 0, 0.1, 0, 0.1, 0.1))
    assert stopped_tokens(weighed).tolist() == [False, True, False, True, False, False]
    assert not stopped_tokens(replace(weighed, advantage=0.0)).any(), "nothing was taken away from nothing"
    critic = replace(weighed, advantages_T=floats(1, 0, 1, 1, 1, 1))
    assert stopped_tokens(critic).tolist() == [False, False, False, True, False, False]


def test_t_goes_round_all_channels() -> None:
    seen, now = [], CHANNELS[0].id
    for _ in CHANNELS:
        seen.append(now)
        now = next_channel(now, 1)
    assert now == CHANNELS[0].id
    assert len(set(seen)) == len(CHANNELS) == 7
    assert next_channel(CHANNELS[0].id, -1) == CHANNELS[-1].id


@pytest.mark.parametrize(
    ("no_color", "native", "system", "mono"),
    [
        (True, False, "truecolor", True),
        (False, True, "truecolor", True),
        (False, False, "standard", True),
        (False, False, None, True),
        (False, False, "256", False),
        (False, False, "truecolor", False),
    ],
)
def test_where_there_are_no_shades_of_colour(
    no_color: bool, native: bool, system: str | None, mono: bool
) -> None:
    assert mono_by_default(no_color=no_color, native_ansi=native, color_system=system) is mono


def test_a_channel_of_512_tokens_is_quantised_in_a_few_milliseconds() -> None:
    text = "word " * 512
    completion = replace(
        made(text, [5 * i for i in range(512)]), entropies_T=np.random.default_rng(0).random(512, np.float32)
    )
    layout = layout_of(completion, 100)
    best = 1.0
    for _ in range(5):
        started = time.perf_counter()
        layout = layout_of(completion, 100)
        bucket_of_units(scale_of(SEQUENTIAL, completion.entropies_T).buckets_T, layout.units)
        best = min(best, time.perf_counter() - started)
    assert best < 0.02
