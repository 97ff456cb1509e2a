"""The verifier's reasoning as numbered steps: what it took, how it read it, what it compared, what it paid."""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Size

from grpo_tui.events.records import CompletionRecord
from grpo_tui.tui.glyphs import VERDICTS, verdict_glyph
from grpo_tui.tui.group_facts import judging
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.response import pushed
from grpo_tui.tui.second_opinions import opinions_key, second_opinions
from grpo_tui.tui.text import Line, labelled, number, wrapped
from grpo_tui.tui.view import RunView
from rewards.base import Score

LABEL = 12

Step = tuple[str, str, str]
"""Label, text, role."""


def verifier_steps(completion: CompletionRecord, score: Score) -> list[Step]:
    """What the verifier did, in its order; steps that it did not take are left out."""
    why = score.explanation
    steps: list[Step] = []
    if why.source:
        steps.append(("extract", f"from: {why.source}", ""))
    if why.answer_text:
        place = f"   chars {why.span.start}–{why.span.end}" if why.span is not None else ""
        steps.append(("text", f"'{why.answer_text}'{place}", "bold"))
    if why.normalized_text and why.normalized_text != why.answer_text:
        steps.append(("read as", why.normalized_text, ""))
    if why.parsed_answer:
        steps.append(("parse", why.parsed_answer, ""))
    if why.parsed_gold:
        given = f"'{why.gold_text}' → " if why.gold_text else ""
        steps.append(("gold", f"{given}{why.parsed_gold}", ""))
    if why.rule:
        glyph, role = VERDICTS.get(score.verdict, ("", ""))
        difference = f", answer − gold = {why.difference}" if why.difference else ""
        steps.append(("equal?", f"{why.rule}{difference}  {glyph}", role))
    if why.answer_text:
        steps.append(("near miss", why.near_miss or "none", "warn" if why.near_miss else "dim"))
    steps.append(("reward", rewards_in_words(completion), "bold"))
    return steps


def rewards_in_words(completion: CompletionRecord) -> str:
    """Every component and the sum."""
    parts = []
    for name, part in completion.scores.items():
        glyph = VERDICTS.get(part.verdict, ("", ""))[0]
        parts.append(f"{name} {number(part.value, 2)} {glyph}")
    total = f" → {number(completion.reward, 2)}" if completion.reward is not None else ""
    return " · ".join(parts) + total


class VerifierPanel(Panel):
    """The sentence, then the steps that led to it."""

    TITLE: ClassVar[str] = "Verifier"
    HELP: ClassVar[str] = (
        "What the verifier did with this response, step by step. The answer it judged is in italics among the tokens."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The selected answer, and what was said of its verdict since."""
        return (view.completion, *opinions_key(view))

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """The sentence and the numbered steps."""
        width, completion = size.width, view.completion
        if completion is None:
            self.set_title("Verifier")
            return [], None
        score = judging(completion)
        if score is None:
            self.set_title("Verifier")
            return [(("not scored yet", "dim"),)], None
        glyph, role = verdict_glyph(completion)
        elapsed = f"{score.explanation.elapsed_ms:.1f} ms" if score.explanation.elapsed_ms else ""
        self.set_title(f"Verifier  {glyph} {score.verdict.value}", elapsed)
        lines = wrapped(score.explanation.sentence, width, f"{role} bold")
        for label, text, text_role in second_opinions(view):
            lines += labelled(f"  {label}", text, width, text_role, room=LABEL)
        for place, (label, text, text_role) in enumerate(verifier_steps(completion, score), 1):
            lines += labelled(f"{place} {label}", text, width, text_role, room=LABEL)
        for other in score.explanation.runner_ups:
            lines += labelled("  passed by", f"'{other.text}': {other.reason}", width, "dim", room=LABEL)
        push = pushed(completion)
        if push:
            lines += labelled("  pushed", push, width, room=LABEL)
        return lines, None
