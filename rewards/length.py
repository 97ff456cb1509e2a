"""Rewards for how long a response is and how much it repeats itself. Measures, not judgements of truth."""

from __future__ import annotations

import re

from rewards.base import Explanation, MeasuringReward, Sample, Score, Verdict

_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+|[^\w\s]")
_MAX_WORDS = 20_000


class OverlongReward(MeasuringReward):
    """DAPO's soft penalty: 0 up to ``max_tokens - cache``, then linear down to -1 at ``max_tokens``.

    Lengths come from the sample's metadata, ``num_tokens`` and ``max_tokens`` (both counted in tokens). Without them
    a response that was cut off gets -1 and any other is not judged.

    Args:
        cache_share: width of the ramp as a share of ``max_tokens``.
    """

    def __init__(self, *, cache_share: float = 0.2) -> None:
        if not 0 < cache_share <= 1:
            raise ValueError("cache_share must lie between 0 and 1")
        self._cache_share = cache_share

    @property
    def name(self) -> str:
        """Component name."""
        return "overlong"

    def _score(self, sample: Sample) -> Score:
        lengths = _lengths(sample)
        if lengths is None:
            if sample.finish_reason == "length":
                return _measured(-1.0, "The response was cut off at its length limit.", "cut off")
            return _measured(None, "The length is not known.", "unknown length")
        length, limit = lengths
        penalty = soft_overlong_penalty(length, limit, limit * self._cache_share)
        return _measured(
            penalty, f"{length} of at most {limit} tokens: penalty {penalty:.2f}.", "soft overlong"
        )


def soft_overlong_penalty(length: int, limit: int, cache: float) -> float:
    """Equation 13 of DAPO: 0 within ``limit - cache``, -1 at ``limit`` and beyond, linear between."""
    over = length - (limit - cache)
    return -min(1.0, over / cache) if over > 0 else 0.0


class LengthReward(MeasuringReward):
    """Minus the share of the token budget that was used: 0 for nothing, -1 for all of it.

    In a group whose other rewards are equal it alone makes the advantage, so keep its weight small.
    """

    @property
    def name(self) -> str:
        """Component name."""
        return "length"

    def _score(self, sample: Sample) -> Score:
        lengths = _lengths(sample)
        if lengths is None:
            return _measured(None, "The length is not known.", "unknown length")
        length, limit = lengths
        share = min(1.0, length / limit)
        return _measured(-share, f"{length} of at most {limit} tokens.", "share of the budget")


class RepetitionReward(MeasuringReward):
    """Minus the share of n-grams that occurred before in the same response: 0 for none, towards -1 for a loop.

    As in the repetition penalty of Yeo et al. (arXiv 2502.03373), on words, and on single characters of Chinese.

    Args:
        ngram: length of the n-grams, in words.
    """

    def __init__(self, *, ngram: int = 6) -> None:
        if ngram < 2:
            raise ValueError("ngram must be at least 2")
        self._ngram = ngram

    @property
    def name(self) -> str:
        """Component name."""
        return "repetition"

    def _score(self, sample: Sample) -> Score:
        share = repeated_share(sample.completion, self._ngram)
        return _measured(-share, f"{share:.0%} of its {self._ngram}-grams repeat.", "repeated n-grams")


def repeated_share(text: str, ngram: int) -> float:
    """Share of the n-grams of ``text`` that are not the first of their kind; only its first 20,000 words are read."""
    words = [found[0].lower() for found, _ in zip(_WORD.finditer(text), range(_MAX_WORDS), strict=False)]
    grams = [tuple(words[start : start + ngram]) for start in range(len(words) - ngram + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _lengths(sample: Sample) -> tuple[int, int] | None:
    """Tokens used and tokens allowed, if both are known."""
    try:
        length, limit = int(sample.metadata["num_tokens"]), int(sample.metadata["max_tokens"])
    except (KeyError, ValueError):
        return None
    return (length, limit) if limit > 0 else None


def _measured(value: float | None, sentence: str, rule: str) -> Score:
    return Score(
        value=value, verdict=Verdict.NOT_JUDGED, explanation=Explanation(sentence=sentence, rule=rule)
    )
