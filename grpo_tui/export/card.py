"""One answer as a card to hand on: plain text, JSON, Markdown or SVG."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.visible import clean
from rewards.base import Span, Verdict

FORMATS = ("txt", "json", "md", "svg")
SIGNS = {
    Verdict.CORRECT: "✓",
    Verdict.WRONG: "✗",
    Verdict.UNPARSED: "?",
    Verdict.NO_ANSWER: "ø",
    Verdict.TIMEOUT: "t",
    Verdict.CRASH: "!",
    Verdict.BAD_GOLD: "G",
    Verdict.NOT_JUDGED: "–",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One answer and what became of it. Texts are as they were, uncleaned: each format escapes for itself."""

    run: str
    step: int
    group: int
    answer: int
    """Numbers as on the screen, from 1."""
    problem_id: str
    prompt: str
    gold: str
    text: str
    span: Span | None
    verdict: Verdict | None
    near_miss: str
    sentence: str
    extracted: str
    reward: float | None
    parts: tuple[tuple[str, float | None], ...]
    """Reward components by name, unweighted."""
    advantage: float | None
    kl_ref: float | None
    num_tokens: int
    finish_reason: str

    @property
    def title(self) -> str:
        """Where it stands, as the screen writes it."""
        return f"step {self.step} · g{self.group}·r{self.answer}"

    @property
    def sign(self) -> str:
        """The verdict as one glyph, near misses apart."""
        if self.verdict is None:
            return "░"
        return "≈" if self.near_miss and self.verdict is Verdict.WRONG else SIGNS.get(self.verdict, "?")

    @property
    def judged(self) -> str:
        """The verdict in words."""
        if self.verdict is None:
            return "not scored yet"
        return f"{self.verdict.value}, near miss: {self.near_miss}" if self.near_miss else self.verdict.value

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Name and value of every number, in reading order."""
        facts = [("gold", self.gold), ("extracted", self.extracted)]
        facts += [("reward", _number(self.reward))]
        facts += [(f"· {name}", _number(value)) for name, value in self.parts]
        facts += [("advantage", _number(self.advantage, sign=True)), ("kl_ref", _number(self.kl_ref, 4))]
        ended = "cut at the limit" if self.finish_reason == "length" else "ended by itself"
        return [*((name, value) for name, value in facts if value), ("tokens", f"{self.num_tokens}, {ended}")]


def make_card(run: str, step: int, group: GroupRecord, completion: CompletionRecord) -> Card:
    """The card of one completion."""
    judging = next((s for s in completion.scores.values() if s.verdict is completion.verdict), None)
    why = judging.explanation if judging is not None else None
    span = why.span if why is not None else None
    if span is not None and not 0 <= span.start < span.end <= len(completion.text):
        span = None
    return Card(
        run=run,
        step=step,
        group=group.index + 1,
        answer=completion.index + 1,
        problem_id=group.problem.id,
        prompt=group.problem.question or group.problem.prompt,
        gold=group.problem.answer,
        text=completion.text,
        span=span,
        verdict=completion.verdict,
        near_miss=why.near_miss if why is not None else "",
        sentence=why.sentence if why is not None else "",
        extracted=why.answer_text if why is not None else "",
        reward=completion.reward,
        parts=tuple((name, score.value) for name, score in completion.scores.items()),
        advantage=completion.advantage,
        kl_ref=completion.kl_ref,
        num_tokens=completion.num_tokens,
        finish_reason=completion.finish_reason,
    )


def render(card: Card, form: str) -> str:
    """The card in one of :data:`FORMATS`."""
    if form == "svg":
        from grpo_tui.export.card_svg import card_svg

        return card_svg(card)
    return {"txt": plain, "json": as_json, "md": markdown}[form](card)


def plain(card: Card) -> str:
    """As text, with the judged span between ⟦ and ⟧. Control characters are shown, not sent."""
    lines = [
        f"{card.run} · {card.title}   {card.sign} {card.judged}",
        "",
        "prompt",
        *_indented(card.prompt),
        "",
        "response",
        *_indented(marked(card)),
        "",
        card.sentence,
    ]
    lines += [f"{name:<12}{_one_line(value)}" for name, value in card.facts]
    return "\n".join(clean(line) for line in lines) + "\n"


def as_json(card: Card) -> str:
    """Every field, texts exactly as they were."""
    data: dict[str, Any] = {
        "run": card.run,
        "step": card.step,
        "group": card.group - 1,
        "index": card.answer - 1,
        "problem_id": card.problem_id,
        "prompt": card.prompt,
        "answer": card.gold,
        "text": card.text,
        "span": [card.span.start, card.span.end] if card.span else None,
        "verdict": card.verdict.value if card.verdict else None,
        "near_miss": card.near_miss,
        "why": card.sentence,
        "extracted": card.extracted,
        "reward": card.reward,
        "components": dict(card.parts),
        "advantage": card.advantage,
        "kl_ref": card.kl_ref,
        "num_tokens": card.num_tokens,
        "finish_reason": card.finish_reason,
    }
    return json.dumps(data, indent=2, ensure_ascii=True) + "\n"


def markdown(card: Card) -> str:
    """As Markdown for an issue or a page: texts stand in fences that nothing in them can close."""
    rows = [f"| {_escaped(name)} | {_escaped(value)} |" for name, value in card.facts]
    return "\n".join(
        [
            f"### {card.sign} {_escaped(card.judged)} — {_escaped(card.run)}, {card.title}",
            "",
            "**Prompt**",
            "",
            *_fenced(card.prompt),
            "",
            "**Response** (the judged answer between ⟦ and ⟧)" if card.span else "**Response**",
            "",
            *_fenced(marked(card)),
            "",
            _escaped(card.sentence),
            "",
            "| | |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def marked(card: Card) -> str:
    """The response with the judged span between ⟦ and ⟧."""
    if card.span is None:
        return card.text
    start, end = card.span.start, card.span.end
    return f"{card.text[:start]}⟦{card.text[start:end]}⟧{card.text[end:]}"


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.split("\n")]


def _fenced(text: str) -> list[str]:
    lines = [clean(line) for line in text.split("\n")]
    longest = max((len(run) for line in lines for run in _backticks(line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *lines, fence]


def _backticks(line: str) -> list[str]:
    return [run for run in "".join(c if c == "`" else " " for c in line).split(" ") if run]


def _escaped(text: str) -> str:
    """Text in which Markdown and HTML mean nothing."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-!|<>~&$" else c for c in clean(_one_line(text)))


def _one_line(text: str) -> str:
    return text.replace("\n", "⏎")


def _number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    if value is None:
        return ""
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
