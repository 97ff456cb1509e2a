"""What is written reads back equal, whatever the values."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from grpo_tui.config import (
    PRESETS,
    ConfigError,
    Kind,
    RunConfig,
    Setting,
    all_settings,
    from_dict,
    load_config,
    to_dict,
    to_toml,
)

# Surrogates are not text; everything else that Unicode has must survive.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
FREE_TEXT = ("data.system_prompt", "data.subset", "data.eval_source", "data.eval_split", "data.id_field")


def values_of(setting: Setting) -> st.SearchStrategy[Any]:
    match setting.kind:
        case Kind.BOOL:
            return st.booleans()
        case Kind.NAMES:
            return st.lists(TEXT.filter(str.strip), min_size=1, max_size=3).map(tuple)
        case Kind.WEIGHTS:
            weight = st.floats(allow_nan=False, allow_infinity=False)
            weights = st.dictionaries(TEXT.filter(str.strip), weight, min_size=1, max_size=4)
            return weights.filter(lambda items: any(items.values()))
        case Kind.INT:
            low, high = int(setting.low or 0), int(setting.high or 2**40)
            return st.integers(low, high)
        case Kind.FLOAT:
            low_bound = setting.above if setting.above is not None else setting.low
            return st.floats(
                low_bound,
                setting.high,
                exclude_min=setting.above is not None,
                allow_nan=False,
                allow_infinity=False,
            )
        case Kind.STR:
            if setting.choices:
                return st.sampled_from(setting.choices)
            if setting.key == "data.prompt_template":
                return st.tuples(TEXT, TEXT).map(lambda ends: f"{ends[0]}{{prompt}}{ends[1]}")
            return TEXT if setting.key in FREE_TEXT else st.just(setting.default)


TIED = ("algorithm.num_minibatches", "optim.warmup_steps")
"""Settings that others bound; they keep their defaults here."""


@st.composite
def configs(draw: st.DrawFn) -> RunConfig:
    tables: dict[str, dict[str, Any]] = {}
    for setting in all_settings().values():
        if setting.key not in TIED and draw(st.booleans()):
            tables.setdefault(setting.table, {})[setting.name] = draw(values_of(setting))
    while True:
        try:
            return from_dict(tables)
        except ConfigError as error:  # it does not go with the others: leave it out
            table, _, name = error.key.partition(".")
            assume(name in tables.get(table, {}))
            del tables[table][name]


@given(config=configs())
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_what_is_written_reads_back_equal(config: RunConfig, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(to_toml(config).encode("utf-8"))
    assert load_config(file=file) == config
    assert from_dict(to_dict(config)) == config


def test_every_setting_is_written_below_its_help() -> None:
    text = to_toml(RunConfig())
    document = tomllib.loads(text)
    assert {f"{table}.{name}" for table in document for name in document[table]} == set(all_settings())
    for setting in all_settings().values():
        assert f"# {setting.doc}" in text


def test_a_preset_read_over_another_does_not_mix(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    for name, make in PRESETS.items():
        file.write_text(to_toml(make()), "utf-8")
        for other in PRESETS:
            assert load_config(preset=other, file=file) == make(), (name, other)


def test_whole_numbers_in_a_number_setting_become_numbers() -> None:
    assert "lora_alpha = 64.0\n" in to_toml(from_dict({"model": {"lora_alpha": 64}}))


def test_dictionaries_from_elsewhere_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"^run\.db: optim\.momentum: there is no such setting"):
        from_dict({"optim": {"momentum": 0.9}}, where="run.db")
    with pytest.raises(ConfigError, match=r"optim\.lr: must be a number"):
        from_dict({"optim": {"lr": "fast"}})
