"""Cards: everything said, the span marked where it stands, and nothing of a text taken for anything else."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from grpo_tui.export.card import Card, as_json, make_card, markdown, plain
from grpo_tui.export.card_svg import CELL, COLUMNS, MARGIN, MARK, card_svg
from grpo_tui.visible import cells
from rewards.base import Span, Verdict
from tests.support.builders import ScriptedRun
from tests.tui.hostile import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def card() -> Card:
    return Card(
        run="my-run",
        step=39,
        group=3,
        answer=2,
        problem_id="p",
        prompt="Simplify 6/8 + 1/4.",
        gold="1",
        text="6/8 is 3/4, so the answer is \\boxed{1/2}.",
        span=Span(36, 39),
        verdict=Verdict.WRONG,
        near_miss="off by half",
        sentence="1/2 is not equal to the gold answer 1.",
        extracted="1/2",
        reward=0.1,
        parts=(("math", 0.0), ("format", 0.1)),
        advantage=-0.43,
        kl_ref=0.0162,
        num_tokens=91,
        finish_reason="stop",
    )


def rows(svg: str) -> list[tuple[float, float, str]]:
    """(x, y, text) of everything written."""
    root = ElementTree.fromstring(svg)
    return [(float(t.attrib["x"]), float(t.attrib["y"]), t.text or "") for t in root.iter(f"{SVG}text")]


def test_every_format_says_everything(card: Card) -> None:
    said = (
        "≈",
        "off by half",
        "my-run",
        "1/2 is not equal to the gold answer 1",
        "format",
        "-0.43",
        "0.0162",
        "91",
    )
    for made in (
        plain(card),
        markdown(card).replace("\\", ""),
        " ".join(text for _, _, text in rows(card_svg(card))),
    ):
        for fact in (*said, "Simplify 6/8 + 1/4."):
            assert fact in made, (fact, made)
    data = json.loads(as_json(card))
    assert (data["text"], data["span"], data["components"]) == (card.text, [36, 39], dict(card.parts))
    assert (data["group"], data["index"], data["verdict"]) == (2, 1, "wrong")


def test_the_span_is_marked_where_it_stands(card: Card) -> None:
    assert "\\boxed{⟦1/2⟧}." in plain(card)
    root = ElementTree.fromstring(card_svg(card))
    [mark] = [r for r in root.iter(f"{SVG}rect") if r.attrib["fill"] == MARK]
    assert float(mark.attrib["x"]) == pytest.approx(MARGIN + 36 * CELL, abs=0.1)
    assert float(mark.attrib["width"]) == pytest.approx(3 * CELL, abs=0.1)
    marked = [text for x, _, text in rows(card_svg(card)) if abs(x - (MARGIN + 36 * CELL)) < 0.1]
    assert marked == ["1/2"]


def test_a_span_over_several_rows_is_marked_on_each(card: Card) -> None:
    text = "word " * 60
    long = replace(card, text=text, span=Span(50, 250))
    root = ElementTree.fromstring(card_svg(long))
    marks = [r for r in root.iter(f"{SVG}rect") if r.attrib["fill"] == MARK]
    assert len(marks) == 4


def test_a_long_response_is_cut_around_its_span(card: Card) -> None:
    text = "\n".join(f"line {n}" for n in range(400))
    at = text.index("line 300")
    svg = card_svg(replace(card, text=text, span=Span(at, at + 8)))
    texts = [text for _, _, text in rows(svg)]
    assert "line 300" in texts
    assert "line 0" not in texts
    assert any("rows above" in text for text in texts)
    assert any("rows below" in text for text in texts)
    assert len(texts) < 60


def test_a_megabyte_is_cut_around_its_span_too(card: Card) -> None:
    text = "x" * 500_000 + " HERE " + "y" * 500_000
    svg = card_svg(replace(card, text=text, span=Span(500_001, 500_005)))
    assert "HERE" in [text.strip() for _, _, text in rows(svg)]
    assert len(svg) < 30_000


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(card: Card, text: str) -> None:
    poisoned = replace(
        card,
        run=text,
        prompt=text,
        text=text,
        gold=text,
        sentence=text,
        extracted=text,
        near_miss=text,
        parts=((text, 1.0),),
        span=Span(len(text) // 3, len(text) // 3 + 5),
    )
    svg = card_svg(poisoned)
    root = ElementTree.fromstring(svg.encode("utf-8"))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {"svg", "rect", "text", "line"}
    for x, _, written in rows(svg):
        assert x + cells(written) * CELL <= MARGIN + COLUMNS * CELL + 1
    for made in (svg, plain(poisoned), markdown(poisoned)):
        assert not [
            c for c in made if c != "\n" and (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u200b")
        ]
    assert json.loads(as_json(poisoned))["text"].encode("utf-16", "surrogatepass") == text.encode(
        "utf-16", "surrogatepass"
    )


def test_a_fence_in_the_text_does_not_close_ours(card: Card) -> None:
    text = "```\n# not a heading\n````"
    made = markdown(replace(card, text=text, span=None))
    assert f"`````text\n{text}\n`````" in made


def test_markup_of_the_sentence_means_nothing(card: Card) -> None:
    made = markdown(replace(card, sentence="a | b <script> [x](y) *z*"))
    assert "a \\| b \\<script\\> \\[x\\]\\(y\\) \\*z\\*" in made


def test_from_a_recorded_completion() -> None:
    script = ScriptedRun()
    list(script.whole(1))
    from tests.support.apps import paused_after
    from tests.support.scripted_session import ScriptedSession

    session = ScriptedSession(paused_after(ScriptedRun(), 2))
    session.drain(10_000)
    detail = session.load_step(2)
    assert detail is not None
    for group in detail.groups:
        for completion in group.completions:
            made = make_card("run", 2, group, completion)
            assert (made.group, made.answer) == (group.index + 1, completion.index + 1)
            assert made.verdict is completion.verdict
            assert made.span is None or completion.text[made.span.start : made.span.end] == made.extracted


@pytest.mark.parametrize("span", [Span(-1, 3), Span(5, 2), Span(0, 10_000), Span(4, 4)])
def test_a_span_that_cannot_be_is_no_span(span: Span, recorded: Path) -> None:
    from grpo_tui.runs.reader import RunReader

    with RunReader(recorded) as reader:
        detail = reader.load_step(1)
    assert detail is not None
    completion = detail.groups[0].completions[0]
    score = completion.scores["math"]
    scores = {"math": replace(score, explanation=replace(score.explanation, span=span))}
    assert make_card("run", 1, detail.groups[0], replace(completion, scores=scores)).span is None
