"""Which tokens paid? One response as a heat map of its tokens, with a legend that says what the heat is of."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size

from grpo_tui.events.records import CompletionRecord
from grpo_tui.tui.glyphs import verdict_glyph
from grpo_tui.tui.group_facts import judging
from grpo_tui.tui.heat import (
    BUCKETS,
    BY_ID,
    CHANNELS,
    SIDE,
    Channel,
    Glance,
    Reading,
    Scale,
    bucket_of_units,
    mono_by_default,
    role_of,
    scale_of,
    shade_of,
    stopped_tokens,
)
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.text import Line, Span, compact, first_line, fit, line_width, number, wrapped
from grpo_tui.tui.tokens import Layout, first_split, layout_of
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.lines import FAR, LinesView
from rewards.base import Span as TextSpan

STOPPED = "⊘"
ROOMY = 96
"""Width from which the legend's shades are two cells each."""
SOURCE_WORDS = {"sampled": "weights that sampled", "base": "base model (adapter off)"}

HEAT_ROLES = (
    *(f"heat{bucket}" for bucket in range(1, BUCKETS)),
    *(f"{side}{bucket}" for side in ("warm", "cool") for bucket in range(1, SIDE + 1)),
)


def is_mono(view: RunView, panel: LinesView) -> bool:
    """Whether heat is drawn with characters instead of colours."""
    if view.lens.mono is not None:
        return view.lens.mono
    app = panel.app
    # Without a terminal the console knows nothing of colours, and pictures can have all of them.
    system = "truecolor" if app.is_headless else app.console.color_system
    native = bool(getattr(app, "native_ansi_color", False))
    return mono_by_default(no_color=app.no_color, native_ansi=native, color_system=system)


def source_words(glance: Glance) -> str:
    """Whose log-probs and entropies are shown."""
    seen = glance.inspected
    if glance.source != "now":
        return SOURCE_WORDS[glance.source]
    return "weights in memory" if seen is None else f"weights after step {seen.finished_steps}"


def read(glance: Glance, channel: Channel) -> tuple[Reading, Scale | None]:
    """A channel's numbers with their scale; no scale where there are none, or not one for each token."""
    reading = channel.read(glance)
    values = reading.values_T
    if values is None:
        return reading, None
    if values.shape != (glance.completion.num_tokens,) or not values.size:
        return Reading(None, f"{channel.label} is not recorded for these tokens"), None
    return reading, scale_of(channel, values)


class HeatPanel(Panel):
    """A panel that knows the roles of heat."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"line--{role}" for role in (*HEAT_ROLES, "here", "span", "off")}
    DEFAULT_CSS = """
    HeatPanel {
        .line--heat1 { background: $warning 10%; }
        .line--heat2 { background: $warning 18%; }
        .line--heat3 { background: $warning 27%; }
        .line--heat4 { background: $warning 36%; }
        .line--heat5 { background: $warning 46%; }
        .line--heat6 { background: $warning 57%; }
        .line--heat7 { background: $warning 70%; text-style: bold; }
        .line--warm1 { background: $success 16%; }
        .line--warm2 { background: $success 30%; }
        .line--warm3 { background: $success 45%; }
        .line--warm4 { background: $success 62%; text-style: bold; }
        .line--cool1 { background: $error 16%; }
        .line--cool2 { background: $error 30%; }
        .line--cool3 { background: $error 45%; }
        .line--cool4 { background: $error 62%; text-style: bold; }
        .line--here { text-style: reverse bold; }
        .line--span { text-style: bold italic; }
        .line--off { text-style: underline; }
    }
    """


class LegendPanel(HeatPanel):
    """Which response this is, and what its heat means: always there."""

    TITLE: ClassVar[str] = "Legend"

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The selection, the lens, the engine's looks."""
        return (*heat_key(view, self), view.training_step, view.group)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Who, what, and the scale."""
        glance, group = view.glance, view.group
        if glance is None or group is None:
            return [(("no response yet: the step has not sampled any", "dim"),)], None
        lines: list[Line] = [self._who(view, glance.completion, size.width)]
        channel = BY_ID[view.lens.channel]
        reading, scale = read(glance, channel)
        place = f"{CHANNELS.index(channel) + 1}/{len(CHANNELS)}"
        head: Line = (("heat ", "dim"), (channel.label, "accent bold"), (f" {place} t ", "dim"))
        if scale is None:
            return [lines[0], *_reason(head, reading.reason, size.width)], None
        each = 2 if size.width >= ROOMY else 1
        legend = (*head, *swatches(channel, scale, mono=is_mono(view, self), cells_each=each))
        for mark in self._marks(glance):
            if line_width((*legend, *mark)) <= size.width:
                legend = (*legend, *mark)
        through = f" · {source_words(glance)}" if channel.id in ("logprob", "entropy") else ""
        words = reading.note or channel.meaning + through
        lines += [legend, ((fit(words, size.width), "warn" if reading.note else "dim"),)]
        return lines, None

    def _who(self, view: RunView, completion: CompletionRecord, width: int) -> Line:
        group = view.group
        assert group is not None
        glyph, role = verdict_glyph(completion)
        facts = [f"{completion.num_tokens} tok"]
        if completion.advantage is not None:
            facts.insert(0, f"adv {number(completion.advantage, 2, sign=True)}")
        if completion.kl_ref is not None:
            facts.append(f"kl_ref {compact(completion.kl_ref)}")
        facts.append("cut at the limit" if completion.finish_reason == "length" else "ended by itself")
        where = f"g{group.index + 1}·r{completion.index + 1} @{view.shown_step}"
        if view.training_step != view.shown_step:
            facts.insert(0, f"training is at {view.training_step}")
        lead: Line = (
            (where, "bold"),
            (f"  {glyph} ", role),
            (f"{number(completion.reward, 2)}  ", "bold"),
            ("  ".join(facts) + "  ", ""),
        )
        room = max(0, width - line_width(lead))
        return (*lead, (fit(first_line(group.problem.question), room), "dim"))

    def _marks(self, glance: Glance) -> list[Line]:
        stopped = int(stopped_tokens(glance.completion).sum())
        marks: list[Line] = []
        if stopped:
            marks.append(
                (("  ", ""), (f"{STOPPED} ", "dim"), ("underlined", "off"), (f" {stopped} not pushed", "dim"))
            )
        marks.append((("  ", ""), ("italic", "span"), (" judged", "dim")))
        return marks


def _reason(head: Line, reason: str, width: int) -> list[Line]:
    """Why there is no picture, on what is left of the legend's two lines."""
    room = max(8, width - line_width(head) - 1)
    first, *rest = wrapped(f"{reason} · t shows another channel", room, "warn")
    second = " ".join(text for line in rest for text, _ in line)
    return [(*head, (" ", ""), *first), ((fit(second, width), "warn"),)]


def swatches(channel: Channel, scale: Scale, *, mono: bool, cells_each: int = 2) -> Line:
    """The scale from low to high, in the very shades of the tokens."""
    buckets = range(-SIDE, SIDE + 1) if channel.diverging else range(BUCKETS)
    spans: list[Span] = []
    for bucket in buckets:
        if mono:
            spans.append((shade_of(bucket, diverging=channel.diverging) * cells_each, ""))
        else:
            spans.append((" " * cells_each, role_of(bucket, diverging=channel.diverging)))
    return ((f" {channel.fmt(scale.low)} ", ""), *spans, (f" {channel.fmt(scale.high)}", ""))


def heat_key(view: RunView, panel: LinesView) -> tuple[object, ...]:
    """What a picture of the selected response's tokens depends on."""
    lens = view.lens
    return (
        view.completion,
        view.shown_step,
        view.token,
        lens.channel,
        lens.source,
        lens.diff,
        lens.versus,
        is_mono(view, panel),
        view.inspections.version,
        view.inspections.why_not,
        view.state.last_step,
    )


class TokensPanel(HeatPanel):
    """The tokens of the selected response."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "screen.move_token(-1)", show=False, id="token.left"),
        Binding("right", "screen.move_token(1)", show=False, id="token.right"),
        Binding("home", f"screen.move_token({-FAR})", show=False, id="token.home"),
        Binding("end", f"screen.move_token({FAR})", show=False, id="token.end"),
        Binding("up", "screen.move_token_row(-1)", show=False, id="token.up"),
        Binding("down", "screen.move_token_row(1)", show=False, id="token.down"),
        Binding("pageup", "screen.move_token_row(-8)", show=False, id="token.pageup"),
        Binding("pagedown", "screen.move_token_row(8)", show=False, id="token.pagedown"),
    ]
    TITLE: ClassVar[str] = "Tokens"
    HELP: ClassVar[str] = (
        "The response token by token: arrows move the token cursor, t changes what the heat is of, b and a look through "
        "the base model and the present weights, d holds it against another response, c draws it without colour."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The response, its numbers, the cursor and the lens."""
        return heat_key(view, self)

    def layout_for(self, view: RunView) -> Layout | None:
        """Rows of the selected response at the present width."""
        completion = view.completion
        width = self.scrollable_content_region.width
        return layout_of(completion, width) if completion is not None and width > 0 else None

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """The text in the colours of its tokens, or with a row of shades under each."""
        glance = view.glance
        if glance is None:
            self.set_title("Tokens")
            return [], None
        completion, channel = glance.completion, BY_ID[view.lens.channel]
        layout = layout_of(completion, size.width)
        _, scale = read(glance, channel)
        units = layout.units
        buckets = bucket_of_units(scale.buckets_T, units) if scale else [0] * len(units)
        here = layout.unit_of(view.token) if units else -1
        mono = is_mono(view, self)
        paint = _Paint(completion, layout, buckets, here, channel, mono, _shared(view, completion))
        through = f" through the {source_words(glance)}" if glance.source != "sampled" else ""
        self.set_title(f"Tokens{through}", f"token {view.token + 1} of {completion.num_tokens}")
        lines = paint.lines(with_shades=mono and scale is not None)
        if not units:
            lines = [(("(the response is empty)", "dim"),)]
        else:
            row = layout.row_of_unit[here] * (2 if mono and scale is not None else 1)
            self.call_after_refresh(self.reveal, row, 1)
        return lines, None


def _shared(view: RunView, completion: CompletionRecord) -> int:
    """Where the part shared with the other response ends, while one is held against it; 0 otherwise."""
    other = view.counterpart if view.lens.diff else None
    if other is None:
        return 0
    split = first_split(completion, other)
    return completion.num_tokens if split is None else split


class _Paint:
    """Rows of styled text from a layout and a bucket for each unit."""

    def __init__(
        self,
        completion: CompletionRecord,
        layout: Layout,
        buckets: list[int],
        here: int,
        channel: Channel,
        mono: bool,
        shared: int,
    ) -> None:
        self.layout, self.buckets, self.channel, self.mono = layout, buckets, channel, mono
        score = judging(completion)
        self.span = score.explanation.span if score is not None else None
        stopped = stopped_tokens(completion)
        self.off = [bool(stopped[unit.first : unit.last + 1].any()) for unit in layout.units]
        self.roles = [self._role(place, here, shared) for place in range(len(layout.units))]

    def _role(self, place: int, here: int, shared: int) -> str:
        unit, bucket = self.layout.units[place], self.buckets[place]
        if place == here:
            return "here off" if self.off[place] else "here"
        roles = ["dim"] if unit.last < shared else []
        if not self.mono and not roles:
            roles.append(role_of(bucket, diverging=self.channel.diverging))
        if self.off[place]:
            roles.append("off")
        if _overlaps(self.span, unit.start, unit.end):
            roles.append("span")
        return " ".join(role for role in roles if role)

    def lines(self, *, with_shades: bool) -> list[Line]:
        lines: list[Line] = []
        for row in self.layout.rows:
            spans: list[Span] = []
            for piece in row:
                role = self.roles[piece.unit]
                if spans and spans[-1][1] == role:
                    spans[-1] = (spans[-1][0] + piece.text, role)
                else:
                    spans.append((piece.text, role))
            lines.append(tuple(spans))
            if with_shades:
                shades = "".join(self._shade(piece.unit, piece.width) for piece in row)
                lines.append(((shades, "dim"),))
        return lines

    def _shade(self, place: int, width: int) -> str:
        shade = shade_of(self.buckets[place], diverging=self.channel.diverging) * width
        return STOPPED + shade[1:] if self.off[place] and shade else shade


def _overlaps(span: TextSpan | None, start: int, end: int) -> bool:
    return span is not None and span.start < end and start < span.end


def next_channel(now: str, by: int) -> str:
    """The channel after (or before) one."""
    place = CHANNELS.index(BY_ID[now])
    return CHANNELS[(place + by) % len(CHANNELS)].id
