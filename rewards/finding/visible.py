"""Whole response → the part that may hold an answer, with every offset kept.

Thinking, what follows the end of the turn and an echo of the question are blanked out with line ends of the same
length. Characters that only look like others are replaced one for one; those that show nothing are taken out, and
:class:`View` leads every offset back to the original text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from rewards.base import Span

MAX_VIEW = 120_000
"""Only this many characters at the end of a response are looked at: a final answer stands at the end."""

_THINK_NAMES = (
    r"(?:seed:)?(?:think(?:ing)?(?:[_ ]process)?|thoughts?|reason(?:ing)?(?:_content)?|cot|chain[_ ]of[_ ]thought|reflection"
    r"|scratchpad|analysis|inner_monologue|internal_monologue)"
)
_THINK_HINTS = (
    "think",
    "thought",
    "reason",
    "cot",
    "reflection",
    "scratchpad",
    "analysis",
    "monologue",
    "|end|",
    "channel",
)
"""One of these is in every tag that :data:`_THINK` finds."""
_THINK = re.compile(
    rf"(?:<|&lt;|\[)[ \t\0|]*(?P<close>/)?[ \t\0]*{_THINK_NAMES}[ \t\0|]*(?:>|&gt;|\])"
    r"|<\|(?:begin_of_thought|(?P<close3>end_of_thought))\|>|◁(?P<close4>/)?think▷"
    r"|(?P<channel><\|channel\|>[ \t]*(?:analysis|commentary)\b[^<\n]{0,40}<\|message\|>)|(?P<end><\|end\|>)",
    re.I,
)
_STRUCK = re.compile(r"<(s|del|strike)>[^<]{1,200}</\1>(?=\s*\S)|<!--[^<>]{0,400}-->", re.I)
_END_OF_TURN = re.compile(
    r"<\|(?:im_end|endoftext|eot_id|eom_id|end|end_of_text|return|endofassistant)\|>|</s>|<eos>|<end_of_turn>"
    r"|<[|｜]end[▁_]of[▁_]sentence[|｜]>"
)
_FINAL_CHANNEL = "<|channel|>final<|message|>"
_START_OF_TURN = re.compile(r"\s*(?:<s>|<bos>|<\|im_start\|>assistant\n|<\|im_start\|>|<\|start\|>assistant)")
_STRIPPED = re.compile(
    r"~~[^~\n]{1,80}~~|(?:\A|(?<=\n))\x1b\[[0-9;]{0,12}m|\x1b\[[0-9;]{0,12}m(?=\s{0,20}\Z)"
)
"""What is struck out, and terminal colours around the whole."""
_EMPHASIS = re.compile(
    r"(?<![0-9A-Za-z)\]}*])\*{2,3}(?!\*)|(?<!\*)\*{2,3}(?![0-9A-Za-z(\\*])|(?<!`)`(?!`)|(?<![\w_])__(?=[-+$\d.,/ %A-Z]{1,30}__)|(?<=[\d%A-Z])__(?![\w_])"
)
_CALCULATION = re.compile(r"<<[^<>\n]{0,160}>>")
"""The calculator marks of GSM8K solutions, ``<<48/2=24>>``."""
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u00ad\ufe0e\ufe0f]+")
_LOOK_ALIKES = str.maketrans(
    {
        **{chr(code): chr(code - 0xFEE0) for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B))},
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF41, 0xFF5B)},
        **dict(zip("＃＊＝＜＞［］｛｝＼＄／（）．", "#*=<>[]{}\\$/().", strict=True)),
        **dict.fromkeys("\u2028\u2029\x0b\x0c\x85", "\n"),
        **dict.fromkeys("\u00a0\u3000\u2002\u2003", " "),
    }
)
_MARK = re.compile(f"{_EMPHASIS.pattern}|{_CALCULATION.pattern}|{_STRIPPED.pattern}")
_FOLDED = {**_LOOK_ALIKES, **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"), "\0")}
_BLANKS = re.compile(r"[ \t\n]{9,}")
"""Long runs of blanks are shortened, so that no later search can take time in their length."""
_KEPT_BREAKS, _KEPT_BLANKS = 6, 4


@dataclass(frozen=True, slots=True)
class View:
    """Searchable text and the way back: ``cuts[i]`` is where, in the view, characters had been taken out before.

    ``below`` is the view that they were taken out of; the lowest one begins at ``base`` of the original text.
    """

    text: str
    base: int = 0
    cuts: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    below: View | None = None

    def origin(self, span: Span) -> Span:
        """The span of the original text that ``span`` of the view stands for."""
        if not self.base and not self.cuts:
            return span
        start, last = self._offset(span.start), self._offset(max(span.start, span.end - 1))
        return Span(start, last + (1 if span.end > span.start else 0))

    def _offset(self, at: int) -> int:
        index = bisect_right(self.cuts, at)
        at += self.removed[index - 1] if index else 0
        return self.below._offset(at) if self.below else at + self.base


def view_of(completion: str, prompt: str = "") -> View:
    """What of ``completion`` may hold an answer."""
    text = visible_text(completion)
    base = max(0, len(text) - MAX_VIEW)
    text = text[base:]
    if "\r" in text:
        text = text.replace("\r\n", " \n").replace("\r", "\n")
    if prompt:
        text = _without_echo(text, prompt.strip())
    view = View(text, base)
    if not text.isascii():
        view = _without(View(text.translate(_LOOK_ALIKES), base), _INVISIBLE)
    view = _without(view, _BLANKS, blanks=True)
    if any(mark in text for mark in ("**", "`", "__", "<<", "~~", "\x1b")):
        view = _without(_without(view, _MARK), _BLANKS, blanks=True)
    return view


def _without(view: View, pattern: re.Pattern[str], *, blanks: bool = False) -> View:
    """The view without what ``pattern`` matches; of blanks, a few are left."""
    cuts, removed, pieces, at, total = [], [], [], 0, 0
    for found in pattern.finditer(view.text):
        left = _few(found[0]) if blanks else ""
        pieces += [view.text[at : found.start()], left]
        cuts.append(found.start() - total + len(left))
        total += found.end() - found.start() - len(left)
        removed.append(total)
        at = found.end()
    if not cuts:
        return view
    return View("".join([*pieces, view.text[at:]]), view.base, tuple(cuts), tuple(removed), view)


def _few(blanks: str) -> str:
    return "\n" * _KEPT_BREAKS if "\n" in blanks else " " * _KEPT_BLANKS


def visible_text(completion: str) -> str:
    """Blank out the thinking and what follows the end of the turn, keeping every offset."""
    if "<" not in completion and "[" not in completion and "&lt;" not in completion:
        return (
            completion
            if completion.isascii() or not ("◁" in completion or "＜" in completion)
            else _without_thinking(completion)
        )
    text = completion
    channel = text.rfind(_FINAL_CHANNEL)
    if channel >= 0:
        start = channel + len(_FINAL_CHANNEL)
        text = "\n" * start + text[start:]
    if "</" in text or "<!--" in text:
        text = _STRUCK.sub(lambda struck: "\n" * len(struck[0]), text)
    opening = _START_OF_TURN.match(text)
    if opening:
        text = "\n" * opening.end() + text[opening.end() :]
    return _without_end_of_turn(_without_thinking(text))


def _without_thinking(text: str) -> str:
    pieces: list[str] = []
    start, opened, in_channel = 0, -1, False
    folded = text if text.isascii() else text.translate(_FOLDED)
    lowered = folded.lower()
    if not any(hint in lowered for hint in _THINK_HINTS):
        return text
    for tag in _THINK.finditer(folded):
        if tag["end"] and not in_channel:
            continue
        in_channel = bool(tag["channel"]) or (in_channel and opened >= 0 and not tag["end"])
        if tag["close"] or tag["close3"] or tag["close4"] or tag["end"]:
            begin = start if opened < 0 else opened
            pieces += [text[start:begin], "\n" * (tag.end() - begin)]
            start, opened = tag.end(), -1
        elif opened < 0:
            opened = tag.start()
    if opened >= 0:
        return "".join([*pieces, text[start:opened]])
    return "".join([*pieces, text[start:]]) if pieces else text


def _without_end_of_turn(text: str) -> str:
    for found in _END_OF_TURN.finditer(text):
        if text[: found.start()].strip():
            return text[: found.start()]
    return text


def _without_echo(text: str, prompt: str) -> str:
    """Blank out the question where the response repeats it word for word."""
    if len(prompt) < 12:
        return text
    at = text.find(prompt)
    if at < 0:
        return text
    return text[:at] + "\n" * len(prompt) + text[at + len(prompt) :]
