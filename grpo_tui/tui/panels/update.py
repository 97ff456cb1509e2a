"""The pages of the Update room as lines: each a few facts, then rows that can be gone through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import BindingType
from textual.geometry import Size

from grpo_tui.events.records import CompletionRecord
from grpo_tui.events.update_records import (
    LossComparison,
    Mismatch,
    TokenMismatch,
    TokenMove,
    TokenPull,
    TwinComparison,
    UpdatePreview,
    UpdateReceipt,
)
from grpo_tui.tui.glyphs import verdict_glyph
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.text import Line, Span, clean, compact, count, duration, fit, number, percent, wrapped
from grpo_tui.tui.updating import (
    MISMATCH,
    PAGES,
    PREVIEW,
    RECEIPT,
    TWIN,
    desk_of,
    page_waits,
    refused,
    shown,
    waiting,
    why_not,
)
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.lines import list_keys

WHAT = {
    "Preview": "The real gradient and step that this update would take, before anything is applied.",
    "What-if": "The captured batch under every loss: how large its gradient is, and where it points.",
    "Receipt": "After the update: did each answer's probability move the way its advantage asked?",
    "Twin": "One state, one batch, several updates: what each would do, all taken back.",
    "Mismatch": "The sampler's log-probs against the update's, token by token, and where they part.",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What Enter opens: a response of the page's step, and a token of it."""

    group: int
    completion: int
    token: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. Negative widths align on the right."""

    title: str
    width: int
    rank: int = 0
    """The highest go first where there is no room."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page: lines, and which of them are rows with something behind them."""

    lines: list[Line]
    rows: list[int]
    """Line of each row."""
    targets: list[Target | None]


class _Sheet:
    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[Line] = []
        self.rows: list[int] = []
        self.targets: list[Target | None] = []

    def say(self, text: str, role: str = "") -> None:
        self.lines.extend(wrapped(text, max(1, self.width), role))

    def head(self, text: str) -> None:
        self.lines.append(((fit(text, self.width), "title"),))

    def gap(self) -> None:
        self.lines.append(())

    def table(self, columns: Sequence[Column]) -> list[Column]:
        kept = list(columns)
        while len(kept) > 1 and sum(abs(c.width) + 1 for c in kept) > self.width:
            kept.remove(max(kept, key=lambda column: column.rank))
        self.lines.append(_cells([(c, c.title, "dim") for c in kept]))
        return kept

    def row(self, columns: Sequence[Column], cells: dict[str, Span], target: Target | None = None) -> None:
        self.rows.append(len(self.lines))
        self.targets.append(target)
        self.lines.append(_cells([(c, *cells.get(c.title, ("", ""))) for c in columns]))

    def page(self) -> Page:
        return Page(self.lines, self.rows, self.targets)


def _cells(cells: Sequence[tuple[Column, str, str]]) -> Line:
    spans: list[Span] = []
    for column, text, role in cells:
        width = abs(column.width)
        whole = fit(clean(text), width)
        if column.width < 0:
            whole = whole.rstrip().rjust(width) if whole.strip() else whole
        spans += [(whole, role), (" ", "")]
    return tuple(spans)


def signed(value: float | None) -> Span:
    """A change with its direction, which colour only repeats."""
    if value is None:
        return ("–", "dim")
    text = f"{value:+.2e}" if value and abs(value) < 5e-4 else number(value, 4, sign=True)
    role = "up" if value > 0 else "down" if value < 0 else "dim"
    return (text.replace("-", "−"), role)


def small(value: float) -> str:
    """Three digits of any size."""
    return f"{value:.3g}".replace("e-0", "e-").replace("-", "−")


def _who(group: int, completion: int) -> str:
    return f"g{group + 1}·r{completion + 1}"


def _answer(view: RunView, step: int, group: int, completion: int) -> CompletionRecord | None:
    detail = view.state.detail(step)
    for record in detail.groups if detail is not None else ():
        if record.index == group:
            return next((c for c in record.completions if c.index == completion), None)
    return None


def _glyph(view: RunView, step: int, group: int, completion: int) -> Span:
    record = _answer(view, step, group, completion)
    return verdict_glyph(record) if record is not None else ("", "")


def page_of(view: RunView, width: int) -> Page:
    """The page shown."""
    sheet = _Sheet(width)
    page = desk_of(view).page
    record = shown(view, page)
    _status(sheet, view, page, record)
    if isinstance(record, UpdatePreview):
        _preview(sheet, view, record)
    elif isinstance(record, LossComparison):
        _what_if(sheet, view, record)
    elif isinstance(record, UpdateReceipt):
        _receipt(sheet, view, record)
    elif isinstance(record, TwinComparison):
        _twins(sheet, view, record)
    elif isinstance(record, Mismatch):
        _mismatch(sheet, record)
    return sheet.page()


def _status(sheet: _Sheet, view: RunView, page: str, record: object) -> None:
    if record is None:
        sheet.say(WHAT[page])
    reason, asked = why_not(view, page), waiting(view)
    if page_waits(view):
        gauge = view.gauge
        done = f" · {gauge.done}/{gauge.total} {gauge.unit}" if gauge is not None and gauge.of else ""
        sheet.say(f"computing…{done}", "accent")
    elif asked is not None:
        sheet.say("another page is being computed", "dim")
    elif reason and (record is None or not view.session.read_only):
        sheet.say(reason, "warn" if record is None else "dim")
    elif record is None:
        sheet.say("g computes it", "key")
    if refused(view):
        sheet.say(refused(view), "bad")
    step = getattr(record, "step", None)
    if step is not None and step != view.training_step and page != RECEIPT:
        sheet.say(f"of step {step}; the training is at {view.training_step}", "warn")
    if sheet.lines:
        sheet.gap()


def _preview(sheet: _Sheet, view: RunView, p: UpdatePreview) -> None:
    if p.choice:
        sheet.say(f"under the twin that was kept for this update: {p.choice}", "accent")
    if p.skipped:
        sheet.say(f"no update would be taken: {p.skipped}", "warn")
        return
    clipped = "never clipped" if not p.max_norm else f"limit {compact(p.max_norm)}"
    if p.max_norm and p.norm > p.max_norm:
        clipped = f"clipped to {compact(p.max_norm)}, a factor of {compact(p.max_norm / p.norm)}"
    steps = "" if p.num_gradient_steps == 1 else f", of the first of {p.num_gradient_steps} gradient steps"
    sheet.say(f"gradient norm {small(p.norm)}{steps} ({clipped})", "bold")
    sheet.say(
        f"the adapter moves by {small(p.step_norm)} · lr {p.learning_rate:g} · computed in {duration(p.seconds)}"
    )
    if p.change is not None:
        c = p.change
        cosine = "no cosine: one of them is 0" if c.cosine != c.cosine else f"cosine {c.cosine:.3f}"
        sheet.say(
            f"your acts: norm {small(c.norm_before)} → {small(c.norm_after)}, {cosine} between the two gradients",
            "accent",
        )
    modules = " · ".join(f"{clean(name)} {small(norm)}" for name, norm in p.module_norms[:4])
    sheet.say(f"largest of {p.num_modules} modules: {modules}", "dim")
    for note in p.notes:
        sheet.say(note, "dim")
    sheet.gap()
    sampled = (
        f"{len(p.answers)} of {p.num_answers} answers, evenly sampled" if p.sampled else f"n={p.num_answers}"
    )
    sheet.head(f"Answers ({sampled}): part of the gradient, predicted change of log-prob")
    columns = sheet.table(
        [
            Column("answer", 8),
            Column("ok", 2, 3),
            Column("advantage", -9, 2),
            Column("part", -8, 1),
            Column("predicted Δlogp", -16),
            Column("tokens", -6, 4),
        ]
    )
    for a in p.answers:
        part = "–" if a.contribution is None else f"{100 * a.contribution:+.1f}%".replace("-", "−")
        sheet.row(
            columns,
            {
                "answer": (_who(a.group, a.completion), ""),
                "ok": _glyph(view, p.step, a.group, a.completion),
                "advantage": signed(a.advantage),
                "part": (part, ""),
                "predicted Δlogp": signed(a.predicted),
                "tokens": (str(a.num_tokens), "dim"),
            },
            Target(a.group, a.completion),
        )
    sheet.gap()
    sheet.head(f"Tokens that pull most (of {p.num_tokens})")
    _tokens(sheet, "weight", [(t, t.weight) for t in p.tokens])


def _tokens(sheet: _Sheet, title: str, tokens: Sequence[tuple[TokenPull | TokenMove, float]]) -> None:
    """Tokens, each with one number."""
    columns = sheet.table([Column("token", 14), Column("text", 20), Column(title, -12)])
    for token, value in tokens:
        sheet.row(columns, {**_token_cells(token), title: signed(value)}, _target(token))


def _token_cells(token: TokenPull | TokenMove | TokenMismatch) -> dict[str, Span]:
    return {
        "token": (f"{_who(token.group, token.completion)} t{token.token + 1}", ""),
        "text": (f"'{clean(token.text)}'", ""),
    }


def _target(token: TokenPull | TokenMove | TokenMismatch) -> Target:
    return Target(token.group, token.completion, token.token)


def _what_if(sheet: _Sheet, view: RunView, w: LossComparison) -> None:
    desk = desk_of(view)
    if w.after_update:
        where = f"at the weights after one update (largest |ρ − 1| {small(w.ratio_spread)})"
    else:
        where = "at the weights that sampled: every ratio is 1, no clip acts, and losses that differ by it alone agree"
    sheet.say(where, "bold")
    exact = (
        f"gradients exact, {count(w.num_parameters)} parameters"
        if not w.projected_to
        else f"gradients projected at random from {count(w.num_parameters)} to {count(w.projected_to)} numbers: cosines ±.01"
    )
    sheet.say(f"{exact} · {duration(w.seconds)} · cos: to the first row", "dim")
    sheet.say(
        "a looks from after one update · m ● tries a loss as a twin · w goes on with it from the next step",
        "dim",
    )
    sheet.gap()
    columns = sheet.table(
        [
            Column("", 1, 2),
            Column("loss", 26),
            Column("norm", -9),
            Column("cos", -6),
            Column("zero", -5, 3),
            Column("mean |w|", -9, 4),
            Column("pushes as", 20, 5),
        ]
    )
    for place, row in enumerate(w.rows):
        cosine = float(w.cosine_N_N[0, place]) if w.cosine_N_N.size else float("nan")
        same = "" if row.same_as is None else w.rows[row.same_as].choice.name
        mark = ("●", "accent") if row.choice in desk.marked else (" ", "")
        if row.unavailable:
            cells = {
                "": mark,
                "loss": (row.choice.name, "dim"),
                "norm": ("–", "dim"),
                "pushes as": (row.unavailable, "dim"),
            }
        else:
            cells = {
                "": mark,
                "loss": (row.choice.name, "bold" if not row.choice.changes else ""),
                "norm": (small(row.norm), ""),
                "cos": ("–" if cosine != cosine else f"{cosine:.3f}".replace("-", "−"), ""),
                "zero": (percent(row.zero_share), "warn" if row.zero_share else "dim"),
                "mean |w|": (small(row.weight_abs_mean), ""),
                "pushes as": (same, "dim"),
            }
        sheet.row(columns, cells)
    row_number = min(desk.rows.get(desk.page, 0), len(w.rows) - 1)
    if w.rows and w.rows[row_number].unavailable:
        sheet.gap()
        sheet.say(f"{w.rows[row_number].choice.name}: {w.rows[row_number].unavailable}", "dim")


def _receipt_facts(r: UpdateReceipt) -> list[Span]:
    """The few lines that say it all."""
    up, down = r.mean(1), r.mean(-1)
    num_up = sum(a.wanted > 0 for a in r.answers)
    num_down = sum(a.wanted < 0 for a in r.answers)
    wrong = [a for a in r.answers if a.wrong_way]
    lines = [
        (f"{r.num_as_wanted} of {r.num_wanted} answers moved as wanted", "bold"),
        (f"↑ wanted {signed(up)[0]} mean Δlogp (n={num_up})", "up"),
        (f"↓ wanted {signed(down)[0]} mean Δlogp (n={num_down})", "down"),
    ]
    if wrong:
        worst = " · ".join(f"{_who(a.group, a.completion)} {signed(a.realised)[0]}" for a in wrong[:3])
        lines.append((f"wrong way: {worst}", "warn"))
    return lines


def _receipt(sheet: _Sheet, view: RunView, r: UpdateReceipt) -> None:
    sheet.head(f"Receipt of update {r.step}")
    for text, role in _receipt_facts(r):
        sheet.say(text, role)
    sheet.say(
        f"kl(before ‖ after) {small(r.kl)} nats a token, exact, over {r.kl_positions} of {r.num_positions} tokens"
    )
    if r.rounding:
        below = sum(abs(a.realised) < r.rounding for a in r.answers)
        sheet.say(
            f"a step as large in a random direction moves an answer by {small(r.rounding)} (rounding): {below} of "
            f"{len(r.answers)} moved less",
            "warn",
        )
    if r.num_predicted:
        sheet.say(f"the preview had the sign right for {r.num_sign_agrees} of {r.num_predicted}")
    sheet.say(f"took {duration(r.seconds)}{' after the update' if r.automatic else ', asked for'}", "dim")
    sheet.gap()
    columns = sheet.table(
        [
            Column("answer", 8),
            Column("ok", 2, 3),
            Column("wanted", 6, 2),
            Column("moved", -12),
            Column("predicted", -12, 4),
            Column("", 10, 1),
        ]
    )
    for a in r.answers:
        sheet.row(
            columns,
            {
                "answer": (_who(a.group, a.completion), ""),
                "ok": _glyph(view, r.step, a.group, a.completion),
                "wanted": ({1: "↑", -1: "↓", 0: "–"}[a.wanted], ""),
                "moved": signed(a.realised),
                "predicted": signed(a.predicted),
                "": ("wrong way", "warn") if a.wrong_way else ("", ""),
            },
            Target(a.group, a.completion),
        )
    sheet.gap()
    sheet.head("Tokens that moved most")
    _tokens(sheet, "Δlogp", [(t, t.delta) for t in r.tokens])


def _twins(sheet: _Sheet, view: RunView, t: TwinComparison) -> None:
    chosen = view.state.update_choice
    if chosen is not None and chosen.step == view.training_step:
        sheet.say(f"update {chosen.step} will be taken as: {chosen.choice.name}", "accent")
    sheet.say(
        f"mean change of an answer's log-prob, right (n={t.num_right}) and wrong (n={t.num_wrong}); kl over "
        f"{t.kl_positions} tokens · {duration(t.seconds)}",
        "dim",
    )
    if t.num_probes:
        sheet.say(
            f"greedy answers right on {t.num_probes} held-out problems: {t.correct_before} before", "dim"
        )
    sheet.say("w takes this update, and no other, so · b also answers held-out problems", "dim")
    sheet.gap()
    columns = sheet.table(
        [
            Column("update", 24),
            Column("right Δ", -12),
            Column("wrong Δ", -12),
            Column("kl", -9, 1),
            Column("as wanted", -9, 3),
            Column("probes", -7, 2),
            Column("moves by", -9, 4),
        ]
    )
    for result in t.results:
        if result.unavailable:
            sheet.row(columns, {"update": (result.choice.name, "dim"), "right Δ": ("–", "dim")})
            continue
        sheet.row(
            columns,
            {
                "update": (result.choice.name, ""),
                "right Δ": signed(result.right),
                "wrong Δ": signed(result.wrong),
                "kl": (small(result.kl), ""),
                "as wanted": (f"{result.num_as_wanted}/{result.num_wanted}", ""),
                "probes": ("–" if result.num_correct is None else f"{result.num_correct}/{t.num_probes}", ""),
                "moves by": (small(result.step_norm), ""),
            },
        )
    notes = [(r.choice.name, r.unavailable or r.skipped) for r in t.results if r.unavailable or r.skipped]
    if notes:
        sheet.gap()
    for name, note in notes:
        sheet.say(f"{name}: {note}", "dim")


def _mismatch(sheet: _Sheet, m: Mismatch) -> None:
    sheet.say(
        f"mean |Δlogp| {small(m.mean)}, largest {small(m.largest)} over {m.num_tokens} tokens · KL(sampler ‖ trainer) "
        f"about {small(m.kl)}",
        "bold",
    )
    sheet.say(f"likely cause: {m.likely or 'none: they agree to the digit'}", "accent")
    sheet.say(
        f"causes measured on the {m.num_checked} of {m.num_answers} answers with the worst tokens · {duration(m.seconds)}",
        "dim",
    )
    sheet.gap()
    columns = sheet.table(
        [
            Column("cause", 16),
            Column("mean", -9),
            Column("largest", -9, 1),
            Column("", max(10, sheet.width - 40), 2),
        ]
    )
    for cause in m.causes:
        aside = "" if cause.recorded else "(apart) "
        sheet.lines.append(
            _cells(
                [
                    (column, *cell)
                    for column in columns
                    for cell in [
                        {
                            "cause": (cause.name, "bold" if cause.name == m.likely else ""),
                            "mean": ("–" if cause.mean is None else small(cause.mean), ""),
                            "largest": ("–" if cause.largest is None else small(cause.largest), ""),
                            "": (f"{aside}{cause.detail}", "dim"),
                        }[column.title]
                    ]
                ]
            )
        )
    sheet.gap()
    sheet.head("Tokens, worst first")
    columns = sheet.table(
        [
            Column("token", 14),
            Column("text", 18, 1),
            Column("sampler", -9),
            Column("trainer", -9),
            Column("Δ", -10),
        ]
    )
    for t in m.tokens:
        sheet.row(
            columns,
            {
                **_token_cells(t),
                "sampler": (number(t.sampled), ""),
                "trainer": (number(t.trained), ""),
                "Δ": signed(t.trained - t.sampled),
            },
            _target(t),
        )


class PageTabs(Panel):
    """The pages by name, the present one marked."""

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The page."""
        return (desk_of(view).page,)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """One line."""
        page = desk_of(view).page
        spans: list[Span] = []
        names = PAGES if size.width >= 46 else (page,)
        for name in names:
            spans += [
                (f"[{name}]" if name == page else f" {name} ", "key" if name == page else "dim"),
                (" ", ""),
            ]
        return [(*spans, ("← →", "dim"))], None


class UpdateSheet(Panel):
    """The page."""

    BINDINGS: ClassVar[list[BindingType]] = list_keys("move_row")
    TITLE = "Update"
    HELP = "What an update will do, would do, and did. ←/→ goes through the pages, g computes the one shown."

    def __init__(self) -> None:
        super().__init__(id="sheet")
        self.page = Page([], [], [])

    def depends(self, view: RunView) -> tuple[object, ...]:
        """Everything a page is made of."""
        desk, state = desk_of(view), view.state
        gauge = view.gauge if page_waits(view) else None
        return (
            desk.page,
            desk.rows.get(desk.page, 0),
            desk.marked,
            shown(view, desk.page),
            why_not(view, desk.page),
            waiting(view),
            refused(view),
            view.training_step,
            state.update_choice,
            state.recent,
            gauge,
        )

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Its lines, and the line of the selected row."""
        desk = desk_of(view)
        self.page = page_of(view, size.width)
        record = shown(view, desk.page)
        step = getattr(record, "step", None)
        of = f" of step {step}" if step is not None and desk.page in (PREVIEW, TWIN, MISMATCH) else ""
        self.set_title(f"{desk.page}{of}")
        if not self.page.rows:
            return self.page.lines, None
        row = max(0, min(desk.rows.get(desk.page, 0), len(self.page.rows) - 1))
        return self.page.lines, self.page.rows[row]
