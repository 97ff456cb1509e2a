"""Changes of a config as text: forwards and back is where one was, whatever the config and the changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo_tui.config.algorithms import ALGORITHMS
from grpo_tui.config.changes import differences, with_changes, with_texts
from grpo_tui.config.emit import to_text
from grpo_tui.config.load import with_value
from grpo_tui.config.presets import PRESETS
from grpo_tui.config.schema import RunConfig, Weights
from grpo_tui.config.settings import Kind, Setting, all_settings, check_value, parse_text, value_of
from grpo_tui.config.validate import find_contradiction

CHARACTERS = st.characters(codec="utf-8")
NAMES = st.text(CHARACTERS, min_size=1, max_size=12).filter(lambda text: text == text.strip() and text != "")


def values_of(setting: Setting) -> st.SearchStrategy[Any]:
    """Values that a setting may have."""
    if setting.choices:
        return st.sampled_from(setting.choices)
    low = setting.low if setting.low is not None else setting.above
    match setting.kind:
        case Kind.INT:
            return st.integers(int(low or 0), int(setting.high or 10**9))
        case Kind.FLOAT:
            return st.floats(
                low if low is not None else -1e6,
                setting.high if setting.high is not None else 1e6,
                exclude_min=setting.above is not None,
            )
        case Kind.BOOL:
            return st.booleans()
        case Kind.STR:
            return st.text(CHARACTERS, max_size=20)
        case Kind.NAMES:
            return st.lists(NAMES, min_size=1, max_size=3).map(tuple)
        case Kind.WEIGHTS:
            weights = st.floats(-1e6, 1e6)
            return st.dictionaries(NAMES.filter(lambda n: "\r" not in n), weights, max_size=3).map(Weights)


@given(st.data())
def test_text_reads_back_as_the_value(data: st.DataObject) -> None:
    setting = data.draw(st.sampled_from(sorted(all_settings().values(), key=lambda row: row.key)))
    value = check_value(setting, data.draw(values_of(setting)))
    again = parse_text(setting, to_text(setting, value))
    assert again == value
    assert type(again) is type(value)


@given(st.data())
def test_a_change_and_its_undo_are_nothing(data: st.DataObject) -> None:
    old = PRESETS[data.draw(st.sampled_from(sorted(PRESETS)))]()
    new = old
    for key in data.draw(st.lists(st.sampled_from(sorted(all_settings())), min_size=1, max_size=4)):
        setting = all_settings()[key]
        new = with_value(new, key, check_value(setting, data.draw(values_of(setting))))
    if find_contradiction(new) is not None:
        return
    found = differences(old, new)
    assert with_texts(old, [(key, after) for key, _, after in found]) == new
    assert with_texts(new, [(key, before) for key, before, _ in found]) == old
    assert bool(found) == (old != new)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_naming_an_algorithm_is_recorded_as_its_parts(name: str) -> None:
    old = RunConfig()
    new = with_changes(old, [("algorithm.name", name)])
    for key, vetted in ALGORITHMS[name].items():
        assert value_of(new, key) == vetted
    found = differences(old, new)
    assert with_texts(old, [(key, after) for key, _, after in found]) == new
    assert with_texts(new, [(key, before) for key, before, _ in found]) == old


def test_texts_as_a_person_types_them() -> None:
    settings, config = all_settings(), RunConfig()
    shown = {key: to_text(settings[key], value_of(config, key)) for key in settings}
    assert shown["optim.lr"] == "1e-5"
    assert shown["algorithm.beta"] == "0.04"
    assert to_text(settings["optim.lr"], 2.5e-4) == "2.5e-4"
    assert to_text(settings["optim.lr"], 1.25e-300) == "1.25e-300"
    assert shown["optim.max_grad_norm"] == "1"
    assert shown["reward.canaries"] == "true"
    assert shown["reward.weights"] == "{math = 1}"
    assert shown["model.lora_targets"] == "all-linear"


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("optim.lr", "fast", "optim.lr: must be a number, not the text 'fast'"),
        ("lrr", "1", "did you mean 'optim.lr'?"),
        ("algorithm.clip", "bound", "did you mean 'bounds'?"),
        ("sampling.group_size", "1", "sampling.group_size: is 1, but"),
        ("optim.lr", "1\n2", "optim.lr: must be a number, not the text '1 2'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(key: str, text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at below
        with_changes(RunConfig(), [(key, text)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "--set" not in str(caught.value)


def test_recorded_texts_of_a_newer_program_are_refused() -> None:
    with pytest.raises(ValueError, match=r"optim\.momentum: there is no such setting"):
        with_texts(RunConfig(), [("optim.momentum", "1")])
    small = RunConfig()
    small = replace(small, sampling=replace(small.sampling, group_size=2))
    with pytest.raises(ValueError, match="compares the completions of a group"):
        with_texts(small, [("sampling.group_size", "1")])
