"""The settings of a run as knobs: what each is, may be, became, and when a change of it would count. No widgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grpo_tui.config.changes import Difference, differences, with_changes, with_texts
from grpo_tui.config.emit import to_text
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import Kind, Setting, all_settings, value_of
from grpo_tui.config.tuning import READ_FIRST, Reading, locked_reason, refusal, when_text
from grpo_tui.config.validate import USUAL_LR, warnings_for
from grpo_tui.events.types import SettingsChanged

TABLES = (
    "optim",
    "algorithm",
    "sampling",
    "reward",
    "groups",
    "eval",
    "run",
    "critic",
    "trust_region",
    "data",
    "model",
)
"""What is turned most comes first; what a running run cannot change, last."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting as the Tune room shows it; values as text."""

    setting: Setting
    value: str
    drafted: str | None
    """What it is to become; None where nothing was asked for."""
    default: str
    locked: str
    """Why it cannot change; empty where it can."""
    changed_at: int | None
    """The step from which its last change counts."""

    @property
    def key(self) -> str:
        """Full key."""
        return self.setting.key

    @property
    def allowed(self) -> str:
        """What it may be."""
        if self.setting.kind is Kind.BOOL:
            return "true or false"
        return self.setting.limits or self.setting.kind.value

    @property
    def when(self) -> str:
        """When a change counts."""
        return "locked" if self.locked else when_text(self.key)

    def found_by(self, query: str) -> bool:
        """Whether every word stands in its name, help or state."""
        state = ("locked" if self.locked else "live") + (" changed" if self.changed_at is not None else "")
        state += " drafted" if self.drafted is not None else ""
        text = f"{self.key} {self.setting.doc} {self.when} {state}".casefold()
        return all(word in text for word in query.casefold().split())


def knobs(now: RunConfig, draft: RunConfig, changes: Sequence[SettingsChanged]) -> list[Knob]:
    """Every setting, by table."""
    last = {change.key: event.step for event in changes for change in event.changes}
    rows = [_knob(setting, now, draft, last) for setting in all_settings().values()]
    return sorted(rows, key=lambda knob: TABLES.index(knob.setting.table))


def _knob(setting: Setting, now: RunConfig, draft: RunConfig, last: dict[str, int]) -> Knob:
    value, wanted = value_of(now, setting.key), value_of(draft, setting.key)
    return Knob(
        setting=setting,
        value=to_text(setting, value),
        drafted=to_text(setting, wanted) if wanted != value else None,
        default=to_text(setting, setting.default),
        locked=locked_reason(setting.key, now),
        changed_at=last.get(setting.key),
    )


def choices_of(setting: Setting) -> tuple[str, ...]:
    """The values of a setting that has few; empty for others."""
    return ("true", "false") if setting.kind is Kind.BOOL else setting.choices


class Draft:
    """Changes that are collected and not yet asked for. Lives as long as the session is on screen."""

    def __init__(self) -> None:
        self.edits: dict[str, str] = {}

    def over(self, now: RunConfig) -> RunConfig:
        """The config as it would be; edits that the present config has overtaken are dropped."""
        try:
            wanted = with_texts(now, self.edits.items())
        except ValueError:  # what it was drafted against has changed under it
            self.edits = {}
            return now
        self.edits = {key: after for key, _, after in differences(now, wanted)}
        return wanted

    def would_be(self, now: RunConfig, key: str, text: str) -> RunConfig:
        """The config with one more edit.

        Raises:
            ValueError: the text cannot be used, or a running run cannot take it; one line.
        """
        wanted = with_changes(self.over(now), [(key, text)])
        reason = refusal(now, wanted)
        if reason:
            raise ValueError(reason)
        return wanted

    def edit(self, now: RunConfig, key: str, text: str) -> None:
        """Add an edit.

        Raises:
            ValueError: as :meth:`would_be`.
        """
        wanted = self.would_be(now, key, text)
        self.edits = {k: after for k, _, after in differences(now, wanted)}

    def replace(self, now: RunConfig, wanted: RunConfig) -> None:
        """Draft the way from one config to another."""
        self.edits = {key: after for key, _, after in differences(now, wanted)}

    def drop(self, key: str) -> None:
        """Forget an edit. Those that only hold together with it go too, when the draft is next looked at."""
        self.edits.pop(key, None)

    def diff(self, now: RunConfig) -> tuple[Difference, ...]:
        """What applying would change."""
        return differences(now, self.over(now))


def began_with(now: RunConfig, changes: Sequence[SettingsChanged]) -> RunConfig:
    """The config before all changes."""
    first = {change.key: change.old for event in reversed(changes) for change in event.changes}
    return with_texts(now, first.items())


def when_together(keys: Sequence[str]) -> str:
    """When changes asked for together count: not before the earliest of their readers."""
    order = list(Reading)
    return when_text(min(keys, key=lambda key: order.index(READ_FIRST.get(key, Reading.PROBLEMS))))


def advice(knob: Knob, config: RunConfig) -> list[str]:
    """What is known about its value in this config."""
    found = [line for line in warnings_for(config) if knob.key in line]
    if knob.key == "optim.lr" and not found:
        found.append(f"usual for LoRA: {' to '.join(to_text(knob.setting, lr) for lr in USUAL_LR)}")
    return found


def new_warnings(now: RunConfig, wanted: RunConfig) -> list[str]:
    """What would be known to harm, and is not so now."""
    known = set(warnings_for(now))
    return [line for line in warnings_for(wanted) if line not in known]


def net_changes(changes: Sequence[SettingsChanged]) -> dict[int, list[tuple[str, str]]]:
    """Step to ``(key, new value)`` of what became different from it on; what was taken back at once is left out."""
    by_step: dict[int, dict[str, tuple[str, str]]] = {}
    for event in changes:
        pairs = by_step.setdefault(event.step, {})
        for change in event.changes:
            pairs[change.key] = (pairs.get(change.key, (change.old, ""))[0], change.new)
    found = {
        step: [(key, new) for key, (old, new) in pairs.items() if old != new]
        for step, pairs in by_step.items()
    }
    return {step: pairs for step, pairs in sorted(found.items()) if pairs}


def mark_label(pairs: Sequence[tuple[str, str]]) -> str:
    """A few characters for a mark on a chart: ``lr 1e-5``, ``dapo``, ``group_size 16 +1``."""
    named = dict(pairs)
    if "algorithm.name" in named:
        return named["algorithm.name"]
    key, value = pairs[0]
    more = f" +{len(pairs) - 1}" if len(pairs) > 1 else ""
    return f"{key.rpartition('.')[2]} {value}{more}"
