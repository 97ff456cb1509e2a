"""A reward model as a reward: what it reads, what it pays, and that it leaves the run's randomness alone."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from grpo_tui.data.bundled import TINY_MODEL, bundled_path
from rewards.base import Sample, Score, Verdict
from rewards.learned import LearnedReward
from rewards.learned_text import SETTINGS_FILE, TextEncoder, TextRule, length_batches, read_rule, rule_for
from rewards.registry import UnknownRewardError, get_reward
from tests.support.reward_models import save_reward_model, tiny_tokenizer

QUESTION = "What is 2 + 2?"
TEXTS = ["4", "The answer is 5.", "", "2 + 2 = 4. \\boxed{4}", "[bold]no markup[/]", "\ud800 x" * 30]


def sample(text: str, prompt: str = QUESTION) -> Sample:
    return Sample(problem_id="p", prompt=prompt, completion=text, gold="4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reward_model(tmp_path_factory.mktemp("models") / "judge")


def values(scores: list[Score]) -> list[float]:
    return [score.value for score in scores if score.value is not None]


def direct_logits(folder: Path, texts: list[str]) -> list[float]:
    """Each text alone, by the chat template and the model themselves."""
    from transformers import AutoModelForSequenceClassification

    tokenizer = tiny_tokenizer()
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for text in texts:
        ids = tokenizer(f"<|user|>{QUESTION}<|assistant|>{text}<|end|>", return_tensors="pt")["input_ids"]
        found.append(model(input_ids=ids).logits[0, 0].item())
    return found


def test_the_score_is_the_models_raw_logit(folder: Path) -> None:
    texts = [text for text in TEXTS if text.isascii()]
    reward = get_reward("learned", model=str(folder), device="cpu")
    assert reward.name == "learned"
    assert reward.check_gold("\\frac{1}{") is None
    scores = reward.score([sample(text) for text in texts])
    assert values(scores) == pytest.approx(direct_logits(folder, texts), abs=1e-5)
    assert len({round(value, 4) for value in values(scores)}) == len(texts)
    for score in scores:
        assert score.verdict is Verdict.NOT_JUDGED
        assert score.explanation.sentence.startswith("The reward model judge gives ")
        assert "raw logit" in score.explanation.sentence
        assert score.explanation.strict is None


def test_batches_change_nothing_but_the_last_digits(folder: Path) -> None:
    samples = [sample(text) for text in TEXTS]
    whole = LearnedReward(str(folder), device="cpu").score(samples)
    by_one = LearnedReward(str(folder), device="cpu", max_batch_tokens=1).score(samples)
    assert len(values(whole)) == len(TEXTS)
    assert values(whole) == pytest.approx(values(by_one), abs=1e-5)
    assert LearnedReward(str(folder), device="cpu").score([]) == []


def test_scoring_repeats_itself_and_leaves_torchs_generator_alone(folder: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    reward = LearnedReward(str(folder), device="cpu")
    samples = [sample(text) for text in TEXTS]
    first = values(reward.score(samples))
    torch.manual_seed(2)
    assert values(reward.score(samples)) == first
    torch.manual_seed(1)
    reward.score(samples)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    LearnedReward(str(folder), device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_any_thread_may_call(folder: Path) -> None:
    reward = LearnedReward(str(folder), device="cpu")
    samples = [sample(text) for text in TEXTS]
    expected = values(reward.score(samples))
    found: list[list[float]] = []
    threads = [threading.Thread(target=lambda: found.append(values(reward.score(samples)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_what_is_too_long_loses_its_beginning_and_says_so(tmp_path: Path) -> None:
    reward = LearnedReward(str(save_reward_model(tmp_path / "short", positions=20)), device="cpu")
    long, short = reward.score([sample("1 + 1 = 2, " * 30 + "end"), sample("4")])
    assert "it read 20 of " in long.explanation.sentence
    assert "beginning is left out" in long.explanation.sentence
    assert "left out" not in short.explanation.sentence
    [other] = reward.score([sample("1 + 1 = 2, " * 30 + "end", prompt="Something else?")])
    assert other.value == long.value  # the question is among what was cut


def test_a_closed_reward_is_closed(folder: Path) -> None:
    reward = LearnedReward(str(folder), device="cpu")
    reward.close()
    reward.close()
    with pytest.raises(RuntimeError, match="closed"):
        reward.score([sample("4")])


def test_a_logit_that_is_no_number_is_no_value(folder: Path) -> None:
    reward = LearnedReward(str(folder), device="cpu")
    assert reward._classifier is not None
    reward._classifier.model.score.weight.data.fill_(torch.nan)
    [score] = reward.score([sample("4")])
    assert score.value is None
    assert "no finite number" in score.explanation.sentence


@pytest.mark.parametrize("lacking", [{"pad_token": None}, {"pad_token": None, "eos_token": None}])
def test_a_tokenizer_without_a_pad_token(tmp_path: Path, lacking: dict[str, Any]) -> None:
    folder = save_reward_model(tmp_path / "bare", **lacking)
    reward = LearnedReward(str(folder), device="cpu")
    samples = [sample(text) for text in TEXTS]
    together = values(reward.score(samples))
    alone = [values(reward.score([one]))[0] for one in samples]
    assert together == pytest.approx(alone, abs=1e-5)


def test_errors_are_one_line_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    headless = save_reward_model(tmp_path / "headless")
    config = json.loads((headless / "config.json").read_text())
    weights = bundled_path(TINY_MODEL) / "model.safetensors"
    (headless / "model.safetensors").write_bytes(weights.read_bytes())
    tiny_config = json.loads((bundled_path(TINY_MODEL) / "config.json").read_text())
    tiny_config |= {"architectures": config["architectures"], "id2label": {"0": "LABEL_0"}}
    (headless / "config.json").write_text(json.dumps(tiny_config))
    (tmp_path / "empty").mkdir()
    wrong_rule = save_reward_model(tmp_path / "rule")
    (wrong_rule / SETTINGS_FILE).write_text('{"version": 99}')
    damaged = save_reward_model(tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"no weights")
    cases = {
        "": "needs a model, by reward.learned_model",
        "./nowhere": "there is no model folder ./nowhere",
        str(tmp_path / "empty"): "has no config.json",
        str(bundled_path(TINY_MODEL)): "is a LlamaForCausalLM, not a sequence classifier",
        str(save_reward_model(tmp_path / "two", num_labels=2)): "has 2 outputs, a reward model has one",
        str(headless): "is not trained as a reward model, it lacks score.weight",
        str(damaged): "could not be loaded",
        str(wrong_rule): "another version",
        "nobody/nothing": "nobody/nothing is not on this machine",
    }
    for model, said in cases.items():
        with pytest.raises(UnknownRewardError) as caught:
            get_reward("learned", model=model, device="cpu")
        message = str(caught.value)
        assert said in message
        assert "\n" not in message
        assert message.startswith("reward 'learned' cannot be built: ")
    with pytest.raises(UnknownRewardError, match="'gpu' is no device"):
        get_reward("learned", model=str(tmp_path / "two"), device="gpu")


def decoded(encoder: TextEncoder, completion: str) -> str:
    text: str = tiny_tokenizer().decode(encoder.encode(QUESTION, completion).token_ids)
    return text


def test_text_by_the_chat_template() -> None:
    encoder = TextEncoder(tiny_tokenizer(), TextRule(text="chat"), 512)
    assert decoded(encoder, " 4 ") == f"<|user|>{QUESTION}<|assistant|> 4 <|end|>"


def test_plain_text() -> None:
    encoder = TextEncoder(tiny_tokenizer(), TextRule(text="plain", separator=" = "), 512)
    assert decoded(encoder, "4") == f"{QUESTION} = 4"


@pytest.mark.parametrize("rule", [TextRule(text="chat"), TextRule(text="plain")])
def test_a_completion_cannot_spell_special_tokens(rule: TextRule) -> None:
    tokenizer = tiny_tokenizer()
    encoder = TextEncoder(tokenizer, rule, 512)
    honest = encoder.encode(QUESTION, "4").token_ids
    spelt = encoder.encode(QUESTION, "4<|end|><|pad|>").token_ids
    assert spelt.count(tokenizer.eos_token_id) == honest.count(tokenizer.eos_token_id)
    assert tokenizer.pad_token_id not in spelt


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('only tools') }}", "refuses a question and an answer: only tools"),
        ("{{ messages[0]['content'] }}", "does not show the answer"),
    ],
)
def test_templates_that_will_not_do(template: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TextEncoder(tiny_tokenizer(chat_template=template), TextRule(text="chat"), 512)


def test_templates_that_write_the_date_write_one_day() -> None:
    template = "{{ strftime_now('%d %b %Y') }} {{ date_string }} {{ messages[1]['content'] }}"
    encoder = TextEncoder(tiny_tokenizer(chat_template=template), TextRule(text="chat"), 512)
    assert decoded(encoder, "4") == "26 Jul 2024 26 Jul 2024 4"


def test_special_tokens_around_plain_text_stay_when_it_is_cut() -> None:
    class Framing:
        """Puts 1 before and 2 after a text whose tokens are its characters."""

        bos_token_id = None
        chat_template = None

        def __call__(
            self, text: str, add_special_tokens: bool, split_special_tokens: bool = False
        ) -> dict[str, list[int]]:
            bare = [ord(character) for character in text]
            return {"input_ids": [1, *bare, 2] if add_special_tokens else bare}

    rule = rule_for(Framing())
    assert rule == TextRule(text="plain")
    whole = TextEncoder(Framing(), TextRule(text="plain", separator="|"), 99).encode("ab", "cd")
    assert whole.token_ids == (1, *map(ord, "ab|cd"), 2)
    cut = TextEncoder(Framing(), TextRule(text="plain", separator="|"), 5).encode("ab", "cd")
    assert (cut.token_ids, cut.num_cut) == ((1, *map(ord, "|cd"), 2), 2)


def test_the_rule_is_read_as_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / SETTINGS_FILE
    rule = TextRule(text="plain", separator=" ⇒ ")
    file.write_text(json.dumps({**rule.to_json(), "trained": {"lr": 1}}), encoding="utf-8")
    assert read_rule(file) == rule
    for bad in ("[]", "{", '{"version": 1, "text": "xml"}', '{"version": 1, "text": "chat", "separator": 5}'):
        file.write_text(bad)
        with pytest.raises(ValueError, match=SETTINGS_FILE):
            read_rule(file)


def test_batches_are_of_like_lengths_and_bounded() -> None:
    assert length_batches([3, 9, 4, 8, 1], 18) == [[1, 3], [2, 0, 4]]
    assert length_batches([30, 2], 10) == [[0], [1]]
    assert length_batches([2, 2], 0) == [[0], [1]]
    assert length_batches([], 10) == []
