"""Why this reward? The text of one answer with the judged span marked, and the verifier's reasons."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from textual.geometry import Size

from grpo_tui.events.records import CompletionRecord
from grpo_tui.tui.glyphs import VERDICTS, verdict_glyph
from grpo_tui.tui.group_facts import judging
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.second_opinions import opinions_key, second_opinions
from grpo_tui.tui.text import LONGEST, Line, clean, compact, count, labelled, number, wrap, wrapped
from grpo_tui.tui.view import RunView
from rewards.base import Explanation, Score, Span

LABEL = 10


def marked(text: str, explanation: Explanation | None, width: int) -> tuple[list[Line], int | None]:
    """Wrap a text and lay the judged span and its runners-up over it; also the row where the span ends."""
    start = _window(text, explanation)
    end = min(len(text), start + LONGEST)
    body = "\n".join(clean(part) for part in text[start:end].split("\n"))
    roles: list[tuple[Span, str]] = []
    if explanation is not None:
        roles = [(_moved(span, start), "runner") for span in explanation.runner_up_spans]
        if explanation.span is not None:
            roles.append((_moved(explanation.span, start), "mark"))
    lines: list[Line] = []
    if start:
        lines.append(((f"⋯ {count(start)} characters before", "dim"),))
    at = None
    for row, (low, high) in enumerate(wrap(body, width), start=len(lines)):
        cuts = sorted(
            {low, high, *(min(high, max(low, edge)) for span, _ in roles for edge in (span.start, span.end))}
        )
        spans = []
        for start, end in pairwise(cuts):
            role = next(
                (name for span, name in reversed(roles) if span.start <= start and end <= span.end), ""
            )
            spans.append((body[start:end], role))
            if role == "mark":
                at = row
        lines.append(tuple(spans))
    if end < len(text):
        lines.append(((f"⋯ {count(len(text) - end)} characters after", "dim"),))
    return lines, at


def _window(text: str, explanation: Explanation | None) -> int:
    """Where the part begins that is laid out: around the judged span where a text is very long."""
    if len(text) <= LONGEST or explanation is None or explanation.span is None:
        return 0
    return max(0, min(explanation.span.start - LONGEST // 2, len(text) - LONGEST))


def _moved(span: Span, by: int) -> Span:
    return Span(span.start - by, span.end - by)


def pushed(completion: CompletionRecord) -> str:
    """How hard the update pushed this answer, and the token that it pushed hardest; empty where it is not known."""
    weights = completion.weight_T
    if weights is None or not weights.size:
        return ""
    total = float(weights.sum())
    if not weights.any():
        return "not at all: its advantage is 0, or every token is clipped or masked"
    token = int(abs(weights).argmax())
    starts = [*completion.token_offsets_T.tolist(), len(completion.text)]
    text = completion.text[starts[token] : starts[token + 1]] if token + 1 < len(starts) else ""
    where = f"{clean(text)!r}" if text else "the end"
    way = "up" if total > 0 else "down"
    return f"{way} {compact(abs(total))} in all, hardest {where} {compact(float(weights[token]))}"


def _receipt(view: RunView, group: int) -> list[tuple[str, str, str]]:
    """What the update did to this answer and to all of them, where there is a receipt of it."""
    receipt, completion = view.state.receipt, view.completion
    if receipt is None or receipt.step != view.shown_step or completion is None:
        return []
    facts = []
    for move in receipt.answers:
        if (move.group, move.completion) == (group, completion.index):
            way = (
                "against its advantage" if move.wrong_way else "as wanted" if move.wanted else "nobody asked"
            )
            text = f"{number(move.realised, 4, sign=True)} log-prob by the update, {way}"
            facts.append(("moved", text, "warn" if move.wrong_way else ""))
    share = f"{receipt.num_as_wanted} of {receipt.num_wanted} answers moved as wanted (8)"
    return [*facts, ("receipt", share, "")]


class ResponsePanel(Panel):
    """The text of the selected answer."""

    TITLE: ClassVar[str] = "Response"
    HELP: ClassVar[str] = "The response as the verifier saw it; the judged answer is marked. Arrows scroll."

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The selected answer."""
        return (view.completion,)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """The text, wrapped, scrolled to the marked span."""
        width = size.width
        completion, group = view.completion, view.group
        if completion is None or group is None:
            self.set_title("Response")
            return [], None
        glyph, _ = verdict_glyph(completion)
        advantage = (
            "" if completion.advantage is None else f"  adv {number(completion.advantage, 2, sign=True)}"
        )
        ended = "cut at the limit" if completion.finish_reason == "length" else "ended by itself"
        self.set_title(
            f"Response g{group.index + 1}·r{completion.index + 1}  {glyph}{advantage}",
            f"{completion.num_tokens} tokens, {ended}" if completion.num_tokens else "tokens not recorded",
        )
        score = judging(completion)
        text = completion.text
        lines, at = marked(text, score.explanation if score else None, width)
        if not text.strip():
            lines = [(("(the response is empty)", "dim"),)]
        self.call_after_refresh(self.reveal, at if at is not None else 0, 1)
        return lines, None


class WhyPanel(Panel):
    """The verdict, in a sentence and in its steps."""

    TITLE: ClassVar[str] = "Why"
    HELP: ClassVar[str] = "Why the verifier judged so: what it found, how it read it, and which rule decided."

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The selected answer, and what was said of its verdict since."""
        return (view.completion, view.state.receipt, view.shown_step, *opinions_key(view))

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """The sentence first, then its parts as far as there is room."""
        width = size.width
        completion, group = view.completion, view.group
        if completion is None or group is None:
            self.set_title("Why")
            return [], None
        where = f"g{group.index + 1}·r{completion.index + 1}"
        score = judging(completion)
        if score is None:
            self.set_title(f"Why {where}")
            return [(("not scored yet", "dim"),)], None
        glyph, role = verdict_glyph(completion)
        self.set_title(
            f"Why {where}  {glyph} {score.verdict.value}", f"reward {number(completion.reward, 2)}"
        )
        lines = wrapped(score.explanation.sentence, width, f"{role} bold")
        said = [*second_opinions(view), *self._facts(completion, score), *_receipt(view, group.index)]
        for label, text, text_role in said:
            lines += labelled(label, text, width, text_role, room=LABEL)
        return lines, None

    def _facts(self, completion: CompletionRecord, score: Score) -> list[tuple[str, str, str]]:
        why = score.explanation
        facts: list[tuple[str, str, str]] = []
        if why.answer_text:
            source = f"   ({why.source})" if why.source else ""
            facts.append(("answer", f"{why.answer_text}{source}", "bold"))
        if why.normalized_text and why.normalized_text != why.answer_text:
            facts.append(("read as", why.normalized_text, ""))
        if why.parsed_answer:
            facts.append(("parsed", why.parsed_answer, ""))
        if why.parsed_gold:
            facts.append(("gold", why.parsed_gold, ""))
        if why.rule:
            facts.append(("rule", why.rule, ""))
        if why.near_miss:
            facts.append(("near miss", why.near_miss, "warn"))
        for name, part in completion.scores.items():
            glyph = VERDICTS.get(part.verdict, ("", ""))[0]
            facts.append(("part", f"{name} {number(part.value, 2)} {glyph}", ""))
        if completion.kl_ref is not None:
            facts.append(("kl_ref", f"{compact(completion.kl_ref)} mean, {completion.num_tokens} tok", ""))
        push = pushed(completion)
        if push:
            facts.append(("pushed", push, ""))
        if why.elapsed_ms:
            facts.append(("judged in", f"{why.elapsed_ms:.1f} ms", "dim"))
        return facts
