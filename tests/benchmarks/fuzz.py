"""Mutated responses against the verifier: ``python -m tests.benchmarks.fuzz --count 200000 --seed 0``.

Every response is judged as training would judge it. What must hold: a verdict for each, never a crash, spans inside the
text, a bounded sentence, no verdict slower than its deadline, no process left behind. Fails with exit code 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections import Counter
from collections.abc import Sequence

from rewards.base import Sample, Score, Verdict
from rewards.cases import LabelledCase
from rewards.math_verifier import MathVerifier
from tests.rewards.case_files import load_all

BATCH = 64
MAX_RESPONSE = 4_000
PIECES = (
    *"{}[]()\\$^_/|!%,.;:=<>+-*&~#\"'`@ \n\t0123456789abxyzπ√±≤∞½²三十或",
    *(
        "\\boxed{",
        "\\frac",
        "\\sqrt",
        "\\left(",
        "\\right)",
        "\\text{",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "\\\\",
    ),
    *(
        "\\cup",
        "\\infty",
        "\\pm",
        "\\binom",
        "\\sum_{k=1}^{n}",
        "\\int_0^1",
        "\\in",
        "\\mathbb{R}",
        "\\{",
        "\\}",
        "\\|",
    ),
    *(
        "####",
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "The answer is ",
        "Final answer: ",
        "答案是",
        " or ",
        " and ",
    ),
    *(
        "^{9^{9}}",
        "100000!",
        "10^{10^{10}}",
        "1e400",
        "0/0",
        "1/0",
        "__import__",
        "lambda",
        "\u202e",
        "\u200b",
        "\ud800",
    ),
    *(
        "**",
        "```",
        "| a | b |",
        "wrong",
        " not ",
        "x = ",
        "≈",
        "%",
        "\\%",
        " cm",
        "\\text{ km/h}",
        "...",
        "\\ldots",
    ),
)


def mutate(text: str, others: Sequence[str], rng: random.Random) -> str:
    """A few random edits: insert, delete, double, swap, cut, splice with another response."""
    for _ in range(rng.choice((1, 1, 2, 3, 5, 9))):
        at = rng.randint(0, len(text))
        end = min(len(text), at + rng.randint(1, 12))
        match rng.randrange(7):
            case 0 | 1:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case 2:
                text = text[:at] + text[end:]
            case 3:
                text = text[:end] + text[at:end] * rng.choice((1, 2, 40)) + text[end:]
            case 4:
                text = text[end:] + text[:at]
            case 5:
                other = rng.choice(others)
                text = text[:at] + other[rng.randint(0, len(other)) :]
            case _:
                text = text[:at] + "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 20))) + text[end:]
    return text[:MAX_RESPONSE]


def fault_of(sample: Sample, score: Score) -> str:
    """What is wrong with a score, whatever it says of the answer."""
    why = score.explanation
    if score.verdict is Verdict.CRASH:
        return f"a crash: {why.sentence}"
    if why.span and not 0 <= why.span.start <= why.span.end <= len(sample.completion):
        return f"a span outside the text: {why.span}"
    if len(why.sentence) > 2_000 or not why.sentence:
        return f"a sentence of {len(why.sentence)} characters"
    if (score.value == 1.0) != (score.verdict is Verdict.CORRECT):
        return f"paid {score.value} for {score.verdict}"
    return ""


def run(count: int, seed: int) -> tuple[Counter[str], list[str], float]:
    """Verdicts, faults, and the slowest batch in seconds."""
    rng = random.Random(seed)
    cases: list[LabelledCase] = load_all()
    texts = [case.response for case in cases]
    verifier = MathVerifier(lenient=True)
    verdicts, faults, slowest = Counter[str](), list[str](), 0.0
    try:
        for start in range(0, count, BATCH):
            chosen = rng.choices(cases, k=min(BATCH, count - start))
            samples = [
                Sample(
                    problem_id=case.id,
                    prompt=case.prompt,
                    completion=mutate(case.response, texts, rng),
                    gold=case.gold if rng.random() < 0.95 else mutate(case.gold, texts, rng)[:400],
                )
                for case in chosen
            ]
            started = time.perf_counter()
            scores = verifier.score(samples)
            slowest = max(slowest, time.perf_counter() - started)
            for sample, score in zip(samples, scores, strict=True):
                verdicts[score.verdict.value] += 1
                fault = fault_of(sample, score)
                if fault:
                    faults.append(f"{fault}\n    gold {sample.gold!r}\n    response {sample.completion!r}")
    finally:
        pids = verifier._pool.pids()
        verifier.close()
    faults += [f"process {pid} outlived the verifier" for pid in pids if os.path.exists(f"/proc/{pid}")]  # noqa: PTH110
    return verdicts, faults, slowest


def main() -> int:
    """Fuzz and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    verdicts, faults, slowest = run(options.count, options.seed)
    seconds = time.perf_counter() - started
    print(
        f"{options.count} responses in {seconds:.0f} s ({options.count / seconds:,.0f}/s), slowest batch {slowest:.2f} s"
    )
    print(", ".join(f"{verdict} {count}" for verdict, count in verdicts.most_common()))
    for fault in faults[:20]:
        print(fault)
    print(f"{len(faults)} faults")
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
