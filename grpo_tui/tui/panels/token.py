"""One token: every number that is known of it, and what else could have stood in its place."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from textual.geometry import Size

from grpo_tui.events.records import FloatArray, TokenScores
from grpo_tui.events.types import CompletionInspected
from grpo_tui.tui.heat import Glance, stopped_tokens
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.tokens import STOPPED
from grpo_tui.tui.text import Line, Span, clip, compact, fit, labelled, line_width, number
from grpo_tui.tui.tokens import quoted, token_label
from grpo_tui.tui.view import RunView

LABEL = 10


def at(values_T: FloatArray | None, token: int) -> float | None:
    """A number of one token; None where it is not known."""
    return float(values_T[token]) if values_T is not None and token < values_T.shape[0] else None


def probability(logprob: float | None) -> str:
    """``p .22`` from a log-prob; empty where it is not known."""
    if logprob is None or math.isnan(logprob):
        return ""
    share = math.exp(min(0.0, logprob))
    return f"p {compact(share).removeprefix('0')}"


def alternatives(seen: CompletionInspected, scores: TokenScores, token: int) -> list[tuple[str, float, bool]]:
    """The likeliest tokens at a position: text, probability, and whether it is the one that was drawn."""
    texts = dict(zip(seen.vocabulary_ids.tolist(), seen.vocabulary, strict=False))
    drawn = int(seen.token_ids_T[token])
    ids, logprobs = scores.top_ids_T_K[token].tolist(), scores.top_logprobs_T_K[token]
    shares = np.exp(logprobs.astype(np.float64)).tolist()
    return [(texts.get(id, f"#{id}"), share, id == drawn) for id, share in zip(ids, shares, strict=True)]


class TokenPanel(Panel):
    """The numbers of the token under the cursor."""

    TITLE: ClassVar[str] = "Token"
    HELP: ClassVar[str] = (
        "The token under the cursor: its log-prob when it was sampled, now and under the base; ratio, kl_ref, and weight in "
        "the update; and the likeliest tokens at its place. i asks the engine for what needs its weights."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The token, and what is known of it."""
        seen = view.inspections
        return (view.completion, view.shown_step, view.token, view.lens.source, seen.version, seen.why_not)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Numbers first, then alternatives."""
        glance = view.glance
        if glance is None or not glance.completion.num_tokens:
            self.set_title("Token")
            return [], None
        token = view.token
        width = size.width
        label = clip(token_label(glance.completion, token), max(8, width - 24))
        self.set_title(f"token {token + 1} {label}", f"id {int(glance.completion.token_ids_T[token])}")
        lines = [
            self._labelled(
                "sampled", _two(glance.completion.logprobs_T, glance.completion.entropies_T, token)
            )
        ]
        seen = glance.inspected
        if seen is not None:
            lines += self._looks(glance, seen, token, width)
        lines += self._update(glance, token, width)
        if seen is None:
            lines += labelled("likely", glance.missing, width, "warn", room=LABEL)
        else:
            lines += self._likely(seen, token, width, base_first=glance.source == "base")
        return lines, None

    def _looks(self, glance: Glance, seen: CompletionInspected, token: int, width: int) -> list[Line]:
        sampled = at(glance.completion.logprobs_T, token)
        rows = []
        for name, scores in ((f"after {seen.finished_steps}", seen.now), ("base", seen.base)):
            text = _two(scores.logprobs_T, scores.entropies_T, token)
            now = at(scores.logprobs_T, token)
            if now is not None and sampled is not None:
                text += f"   {number(now - sampled, 2, sign=True)} to sampled"
            rows.append(self._labelled(name, clip(text, max(1, width - LABEL))))
        return rows

    def _update(self, glance: Glance, token: int, width: int) -> list[Line]:
        completion = glance.completion
        facts = []
        ratio = at(completion.ratio_T, token)
        if ratio is not None:
            facts.append(f"ratio {compact(ratio)}")
        elif completion.weight_T is not None:
            facts.append("ratio 1")
        kl_ref = at(completion.kl_ref_T, token)
        if kl_ref is not None:
            facts.append(f"kl_ref {compact(kl_ref)}")
        advantage = at(completion.advantages_T, token)
        if advantage is None:
            advantage = completion.advantage
        if advantage is not None:
            facts.append(f"adv {number(advantage, 2, sign=True)}")
        weight = at(completion.weight_T, token)
        stopped = stopped_tokens(completion)
        if weight is not None:
            zeroed = f" {STOPPED} clipped or masked" if token < stopped.size and stopped[token] else ""
            facts.append(f"weight {compact(weight)}{zeroed}")
        elif not glance.updated:
            facts.append("not updated yet")
        return labelled("update", " · ".join(facts), width, room=LABEL)

    def _likely(self, seen: CompletionInspected, token: int, width: int, *, base_first: bool) -> list[Line]:
        views = [(f"after {seen.finished_steps}", seen.now), ("base", seen.base)]
        lines: list[Line] = []
        for name, scores in reversed(views) if base_first else views:
            spans: list[Span] = [(fit(f"likely {name}" if not lines else f"       {name}", LABEL + 6), "dim")]
            for text, share, drawn in alternatives(seen, scores, token):
                piece = f"{quoted(clip(text, 14))} {compact(share).removeprefix('0')}  "
                if line_width(tuple(spans)) + len(piece) > width:
                    break
                spans.append((piece, "accent bold" if drawn else ""))
            lines.append(tuple(spans))
        return lines

    def _labelled(self, label: str, text: str) -> Line:
        return ((fit(label, LABEL), "dim"), (text, ""))


def _two(logprobs_T: FloatArray, entropies_T: FloatArray, token: int) -> str:
    logprob, entropy = at(logprobs_T, token), at(entropies_T, token)
    return f"logp {fit(number(logprob, 2), 6, right=True)}  {fit(probability(logprob), 7)} H {number(entropy, 2)}"
