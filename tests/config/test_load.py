"""Presets, TOML files and key=value pairs: what wins, what is refused, and in which words."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from grpo_tui.config import ConfigError, RunConfig, apply_overrides, load_config, trace_config


def write(folder: Path, text: str, *, name: str = "run.toml") -> Path:
    file = folder / name
    file.write_text(text, "utf-8")
    return file


def refusal(
    *, file: Path | None = None, preset: str | None = None, overrides: tuple[str, ...] = ()
) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(preset=preset, file=file, overrides=overrides)
    assert "\n" not in str(caught.value)
    return caught.value


def test_nothing_said_is_the_defaults() -> None:
    assert load_config() == RunConfig()


def test_the_later_wins(tmp_path: Path) -> None:
    file = write(tmp_path, "[sampling]\ngroup_size = 6\nprompts_per_step = 3\n[optim]\nlr = 1e-3\n")
    config = load_config(preset="gsm8k", file=file, overrides=["group_size=4"])
    assert config.data.source == "openai/gsm8k"
    assert config.sampling.prompts_per_step == 3
    assert config.optim.lr == 1e-3
    assert config.sampling.group_size == 4


def test_a_file_may_name_its_preset_and_the_command_line_another(tmp_path: Path) -> None:
    file = write(tmp_path, 'preset = "gsm8k"\n[run]\nsteps = 7\n')
    assert load_config(file=file).data.subset == "main"
    assert load_config(file=file).run.steps == 7
    assert load_config(preset="cmath", file=file).data.prompt_field == "input"
    assert load_config(preset="cmath", file=file).run.steps == 7


@pytest.mark.parametrize(
    ("override", "table", "name", "value"),
    [
        ("optim.lr=1e-4", "optim", "lr", 1e-4),
        ("lr=1e-4", "optim", "lr", 1e-4),
        ("group_size=4", "sampling", "group_size", 4),
        ("beta=0", "algorithm", "beta", 0.0),
        ("model.lora_targets=q_proj,v_proj", "model", "lora_targets", ("q_proj", "v_proj")),
        ("lora_targets=q_proj , v_proj", "model", "lora_targets", ("q_proj", "v_proj")),
        ('lora_targets=["q_proj", "v_proj"]', "model", "lora_targets", ("q_proj", "v_proj")),
        ("data.shuffle=false", "data", "shuffle", False),
        ("measure_kl_ref=True", "algorithm", "measure_kl_ref", True),
        ("data.system_prompt=a=b, c", "data", "system_prompt", "a=b, c"),
        ("prompt_template={prompt} \\boxed{}", "data", "prompt_template", "{prompt} \\boxed{}"),
        ("system_prompt=", "data", "system_prompt", ""),
        (" lr =2", "optim", "lr", 2.0),
    ],
)
def test_key_value_pairs(override: str, table: str, name: str, value: object) -> None:
    found = getattr(getattr(load_config(overrides=[override]), table), name)
    assert found == value
    assert type(found) is type(value)


def test_weights_are_set_one_by_one_or_as_a_whole() -> None:
    assert load_config(overrides=["reward.weights.format=0.1"]).reward.weights == {"math": 1.0, "format": 0.1}
    assert load_config(overrides=["weights.pkg.mod:score=2"]).reward.weights == {
        "math": 1.0,
        "pkg.mod:score": 2.0,
    }
    assert load_config(overrides=["reward.weights={format = 1}"]).reward.weights == {"format": 1.0}


def test_a_table_of_weights_in_a_file_replaces_the_presets(tmp_path: Path) -> None:
    file = write(tmp_path, '[reward.weights]\nformat = 1\n"pkg.mod:score" = -0.5\n')
    assert load_config(preset="tiny", file=file).reward.weights == {"format": 1.0, "pkg.mod:score": -0.5}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optim.lrr=1", "--set optim.lrr=1: there is no such setting; did you mean 'optim.lr'?"),
        ("lrr=1", "did you mean 'optim.lr'?"),
        ("Optim.LR=1", "did you mean 'optim.lr'?"),
        ("sampling.lr=1", "did you mean 'optim.lr'?"),
        ("optm.warmup_steps=1", "did you mean 'optim.warmup_steps'?"),
        (
            "zzzzzzz=1",
            "the tables are model, data, sampling, reward, algorithm, groups, critic, trust_region, optim, eval, run",
        ),
        ("source=x", "several settings have this name; write 'model.source' or 'data.source'"),
        ("model=x", "this is a table, not a setting; it holds model.source, "),
        ("lr", "must be key=value"),
        ("=1", "must be key=value"),
        ("lr=abc", "optim.lr: must be a number, not the text 'abc'"),
        ("lr=", "must be a number"),
        ("lr=nan", "must be a finite number"),
        ("lr=-inf", "must be a finite number"),
        ("lr=1e999", "must be a finite number"),
        ("lr=1_0", "must be a number"),
        ("lr=-1", "must be at least 0, not -1"),
        ("temperature=0", "several settings have this name"),
        ("sampling.temperature=0", "must be above 0, not 0"),
        ("top_p=1.5", "must be above 0 and at most 1, not 1.5"),
        ("group_size=4.0", "must be a whole number, not the text '4.0'"),
        ("group_size=0", "must be at least 1, not 0"),
        ("group_size=1", "'zscore' compares the completions of a group; use at least 2"),
        ("group_size=٤", "must be a whole number"),
        ("seed=99999999999999999999", "must be at least 0 and at most"),
        ("shuffle=yes", "must be true or false, not the text 'yes'"),
        ("schedule=cosin", "must be 'constant', 'linear' or 'cosine', not 'cosin'; did you mean 'cosine'?"),
        ("schedule=Cosine", "did you mean 'cosine'?"),
        ("lora_targets=", "must hold at least one name"),
        ("lora_targets=a,,b", "no empty one"),
        ("lora_targets=[1]", "must be text, not 1"),
        ("lora_targets=[", "cannot be read as a TOML value"),
        ("weights=math", "must be a table of weights such as {math = 1.0}"),
        ("reward.weights.math=much", "the weight of 'math' must be a number"),
        ("reward.weights.math=nan", "the weight of 'math' must be a finite number"),
        ("system_prompt=\udc80", "not UTF-8 text"),
    ],
)
def test_a_wrong_pair_is_refused_in_one_line(override: str, said: str) -> None:
    error = refusal(overrides=(override,))
    assert said in str(error)
    assert error.where == f"--set {override}"


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("[optim]\n\nlrr = 1\n", ":3", "optim.lrr: there is no such setting; did you mean 'optim.lr'?"),
        ("[optim]\nlr = true\n", ":2", "optim.lr: must be a number, not true"),
        ("[optim]\nlr = '1e-4'\n", ":2", "must be a number, not the text '1e-4'"),
        ("[optim]\nlr = 1" + "0" * 400 + "\n", ":2", "must be a finite number"),
        ("[optim]\nlr = []\n", ":2", "must be a number, not a list"),
        ("[optim]\nlr = nan\n", ":2", "must be a finite number"),
        ("optim.lr = -1\n", ":1", "must be at least 0"),
        ("[run]\nseed=1\n[sampling]\ngroup_size = 8.0\n", ":4", "must be a whole number, not 8.0"),
        ("[sampling]\ngroup_size = true\n", ":2", "must be a whole number, not true"),
        ("[data]\nshuffle = 1\n", ":2", "must be true or false, not 1"),
        ("[data]\nsource = 3\n", ":2", "must be text, not 3"),
        ("[data]\nsource = 2024-01-01\n", ":2", "must be text, not a date"),
        ("[model]\nlora_targets = 'q_proj'\n", ":2", 'must be a list of names such as ["q_proj", "v_proj"]'),
        ("[optimm]\nlr = 1\n", ":1", "optimm: there is no such table; did you mean [optim]?"),
        ("[zzz]\n", ":1", "the tables are model"),
        ("lr = 1\n", ":1", "this setting belongs in a table; put it under [optim]"),
        ("optim = 3\n", ":1", "takes the form [optim] with settings below it"),
        ("[[optim]]\nlr = 1\n", "", "takes the form [optim]"),
        ("[reward]\nweights = 1\n", "", "reward.weights: must be a table of weights"),
        ("[reward.weights]\npkg.mod = 1\n", "", "has a dot in it, so it must stand in quotes"),
        ("[reward.weights]\nmath = 'a'\n", "", "the weight of 'math' must be a number"),
        ("preset = 'gsm'\n", "", "there is no preset 'gsm'; did you mean 'gsm8k'?"),
        ("preset = 8\n", "", "preset: must be the name of a preset, not 8"),
        ("[optim]\nlr = \n", ":2", "not valid TOML: Invalid value (column 6); text needs quotes"),
        ("[model]\nsource = tiny\n", ":2", "text needs quotes"),
        ("[optim]\nlr = 1\nlr = 2\n", ":3", "not valid TOML"),
        ("[optim\n", ":1", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, text: str, where: str, said: str) -> None:
    file = write(tmp_path, text)
    error = refusal(file=file)
    assert error.where == f"{file}{where}"
    assert said in str(error)


def test_windows_files_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_bytes(b"\xef\xbb\xbf[optim]\r\nlr = 0.5\r\n")
    assert load_config(file=file).optim.lr == 0.5


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, "", name="config.toml")
    assert "there is no such file; did you mean" in str(refusal(file=tmp_path / "confg.toml"))
    assert "there is no such file" in str(refusal(file=tmp_path / "nowhere" / "config.toml"))
    assert "is a folder" in str(refusal(file=tmp_path))
    assert "cannot be read" in str(refusal(file=tmp_path / "config.toml" / "below.toml"))
    write(tmp_path, "a = " + "[" * 100_000, name="deep.toml")
    assert "is nested too deeply" in str(refusal(file=tmp_path / "deep.toml"))
    write(tmp_path, "[run]\nseed = " + "9" * 5000, name="big.toml")
    assert "holds a value that cannot be read" in str(refusal(file=tmp_path / "big.toml"))
    write(tmp_path, '[run]\nname = """\n', name="open.toml")
    assert "open.toml:2: not valid TOML" in str(refusal(file=tmp_path / "open.toml"))
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9\n")
    assert "is not UTF-8 text" in str(refusal(file=tmp_path / "latin.toml"))


def test_a_preset_that_is_not_there() -> None:
    assert str(refusal(preset="tinny")) == "--preset tinny: there is no preset 'tinny'; did you mean 'tiny'?"
    assert "the presets are tiny, gsm8k, math, cmath" in str(refusal(preset="xxxxxx"))


def test_settings_that_contradict_each_other_name_the_source_of_one(tmp_path: Path) -> None:
    file = write(tmp_path, "[optim]\nwarmup_steps = 50\n")
    error = refusal(file=file, overrides=("steps=50",))
    assert (error.where, error.key) == (str(file), "optim.warmup_steps")


def test_settings_may_contradict_on_the_way(tmp_path: Path) -> None:
    file = write(tmp_path, "[optim]\nwarmup_steps = 500\n")
    assert load_config(file=file, overrides=["steps=1000"]).optim.warmup_steps == 500


def test_the_trace_says_where_each_value_came_from(tmp_path: Path) -> None:
    file = write(tmp_path, "preset = 'gsm8k'\n[sampling]\ngroup_size = 6\n")
    origins = trace_config(file=file, overrides=["lr=1e-4"]).origins
    assert origins["data.subset"] == "preset gsm8k"
    assert origins["sampling.group_size"] == str(file)
    assert origins["optim.lr"] == "--set lr=1e-4"
    assert origins["run.seed"] == "default"


def test_overrides_are_laid_over_a_config_at_hand() -> None:
    config = RunConfig()
    assert apply_overrides(config, ["lr=1e-3", "warmup_steps=500", "steps=1000"]).optim.lr == 1e-3
    assert config.optim.lr == RunConfig().optim.lr
    with pytest.raises(ConfigError, match=r"--set warmup_steps=100: optim\.warmup_steps: is 100"):
        apply_overrides(config, ["warmup_steps=100"])


def test_the_error_survives_another_process() -> None:
    error = ConfigError("run.toml:3", "optim.lr", "must be\na number")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "run.toml:3: optim.lr: must be a number"
    assert again.key == "optim.lr"
