"""Welcome: a preset with a model, a run to resume or to look at, a path; and what each would do, before it is done."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from grpo_tui.config.emit import to_toml
from grpo_tui.config.local_models import FOLDER, HUB, LocalModel
from grpo_tui.config.machine import Gpu
from grpo_tui.config.presets import PRESETS
from grpo_tui.config.schema import RunConfig
from grpo_tui.runs.store import RunSummary
from grpo_tui.runs.writer import RunWriter
from grpo_tui.tui.app import GrpoApp
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.screens.welcome import WelcomeScreen
from grpo_tui.tui.starting import Survey
from grpo_tui.tui.welcoming import MAX_RUNS, Choice, opened, rows
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView
from tests.events.builders import run_events
from tests.support.apps import wait_for
from tests.support.model_shapes import SMOLLM2
from tests.support.scripted_session import ScriptedSession
from tests.tui.hostile import HOSTILE

SMOL = LocalModel(
    source="HuggingFaceTB/SmolLM2-135M-Instruct", kind=HUB, num_bytes=269_060_552, shape=SMOLLM2
)
HERE = LocalModel(source="./my model", kind=FOLDER, num_bytes=10, shape=SMOLLM2)
BARE = LocalModel(
    source="o/bare", kind=HUB, problem="only its config is here; the weights would be downloaded"
)
MACHINE = Survey(cores=8, total_bytes=32 << 30, free_bytes=20 << 30, models=(SMOL, HERE, BARE))
SMALL = replace(MACHINE, free_bytes=300 << 20)


@dataclass
class Front:
    """The app at its Welcome screen, and the runs that were started from there."""

    app: GrpoApp
    pilot: Pilot[int]
    starts: list[tuple[RunConfig, Path, bool, bool]]

    @property
    def screen(self) -> WelcomeScreen:
        assert isinstance(self.app.screen, WelcomeScreen)
        return self.app.screen

    def text(self, name: str) -> str:
        return self.screen.query_one(f"#{name}", LinesView).plain

    @property
    def keys(self) -> str:
        return self.app.screen.query_one(KeyBar).plain

    @property
    def selected(self) -> str:
        view = self.screen.query_one("#choices", LinesView)
        assert view.cursor is not None
        return view.plain.split("\n")[view.cursor].strip()

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)

    async def type(self, name: str, text: str, *keys: str) -> None:
        await self.press({"model": "m", "data": "d", "path": "o"}[name])
        self.screen.query_one(f"#{name}", Input).value = text
        await self.press(*keys)

    async def choose(self, what: str) -> None:
        """Go down to a row."""
        for _ in range(60):
            if self.selected.removeprefix("● ").startswith(what):
                return
            await self.press("down")
        raise AssertionError(f"no row {what!r} in:\n{self.text('choices')}")


@asynccontextmanager
async def front(
    root: Path, *, survey: Survey | None = MACHINE, size: tuple[int, int] = (100, 30)
) -> AsyncIterator[Front]:
    starts: list[tuple[RunConfig, Path, bool, bool]] = []

    def start(config: RunConfig, *, run_dir: Path, resume: bool, paused: bool) -> ScriptedSession:
        starts.append((config, run_dir, resume, paused))
        return ScriptedSession()

    waiting = threading.Event()

    def look() -> Survey:
        if survey is None:
            waiting.wait(10)
        return survey or MACHINE

    app = GrpoApp(runs_root=root, session_factory=start, survey=look)
    try:
        async with app.run_test(size=size) as pilot:
            made = Front(app, pilot, starts)
            await wait_for(lambda: "looking" not in made.text("choices") or survey is None)
            yield made
    finally:
        waiting.set()


def recorded(root: Path, name: str = "old-run", steps: int = 2) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with RunWriter.create(root / name, to_toml(PRESETS["tiny"]())) as writer:
        for event in run_events(steps):
            writer.write(event)
    return root / name


# --- presets and models ----------------------------------------------------------------------------------


async def test_enter_starts_paused_and_r_runs(tmp_path: Path) -> None:
    """Seen to fail with: the bundled preset running at once."""
    async with front(tmp_path) as it:
        assert "Enter start paused" in it.keys
        await it.press("enter")
        await wait_for(lambda: it.starts)
        assert it.starts[0][0] == PRESETS["tiny"]()
        assert it.starts[0][3]
    async with front(tmp_path) as it:
        await it.press("down", "r")
        await wait_for(lambda: it.starts)
        assert it.starts[0][0] == PRESETS["gsm8k"]()
        assert not it.starts[0][3]


async def test_a_model_and_a_preset_together_make_the_config(tmp_path: Path) -> None:
    async with front(tmp_path) as it:
        await it.press("down", "down", "right")
        await it.choose("./my model")
        assert "take the model" in it.keys
        await it.press("enter")
        assert it.selected.startswith("math"), "back at the preset that was looked at"
        assert "● ./my model" in it.text("choices")
        await it.press("enter")
        await wait_for(lambda: it.starts)
        config = it.starts[0][0]
        assert config.model.source == "./my model"
        assert config == replace(PRESETS["math"](), model=config.model)


async def test_a_model_taken_twice_is_given_back(tmp_path: Path) -> None:
    async with front(tmp_path) as it:
        await it.press("right", "down", "enter")
        assert "● ./my model" in it.text("choices")
        await it.press("right", "down", "enter")
        assert it.screen.query_one("#model", Input).value == ""
        assert "●" not in it.text("choices")
        await it.press("enter")
        await wait_for(lambda: it.starts)
        assert it.starts[0][0] == PRESETS["tiny"]()


async def test_rows_say_what_is_on_disk(tmp_path: Path) -> None:
    async with front(tmp_path, size=(120, 40)) as it:
        text = it.text("choices")
        assert "openai/gsm8k" in text
        assert "135M params" in text
        assert "269 MB  hub cache" in text
        assert "only its config is here" in text
        assert "8 cores" in it.text("title")
        assert "21.5 GB free of 34.4 GB" in it.text("title")
        assert "no GPU: trains on the CPU" in it.text("title")


async def test_the_fit_is_told_and_called_an_estimate(tmp_path: Path) -> None:
    async with front(tmp_path, size=(120, 40)) as it:
        await it.press("down")
        await wait_for(lambda: "estimated" in it.text("about"))
        about = it.text("about")
        assert "of 21.5 GB free  fits" in about
        box = it.screen.query_one("#about", LinesView)
        assert str(box.border_subtitle) == "fit is estimated here, and measured by 0 in the run"
        assert "weights" in about
        assert "8 prompts × 8 responses of up to 320 tokens" in about
    async with front(tmp_path, survey=SMALL, size=(120, 40)) as it:
        await it.press("down")
        await wait_for(lambda: "too large" in it.text("about"))


async def test_on_a_gpu_its_memory_counts(tmp_path: Path) -> None:
    gpu = replace(SMALL, gpus=(Gpu("H[red]200", 80 << 30, 70 << 30),))
    async with front(tmp_path, survey=gpu, size=(120, 40)) as it:
        await it.press("down")
        await wait_for(lambda: "of 75.2 GB free  fits" in it.text("about"))
        assert "H[red]200, 75.2 GB free of 85.9 GB" in it.text("title")


async def test_a_context_too_short_for_the_preset_is_told(tmp_path: Path) -> None:
    short = replace(HERE, shape=replace(SMOLLM2, context_length=256))
    async with front(tmp_path, survey=replace(MACHINE, models=(short,))) as it:
        await it.press("down", "right")
        assert it.selected.startswith("./my model")
        assert "its context of 256 tokens is too short for responses of 320" in it.text("about")


async def test_a_hub_id_that_is_not_here_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    async with front(tmp_path) as it:
        await it.type("model", "some/model")
        await wait_for(lambda: "not on this machine" in it.text("about"))


async def test_a_typed_path_without_a_model_is_one_line_and_does_not_start(tmp_path: Path) -> None:
    """Seen to fail with: the run started, and failing a minute later."""
    async with front(tmp_path) as it:
        await it.type("model", "./nothing[b]here", "enter")
        await wait_for(lambda: "./nothing[b]here is no model folder" in it.text("about"))
        await it.press("enter")
        await it.pilot.pause()
        assert it.starts == []
        assert "is no model folder" in it.text("about")


async def test_problems_can_be_typed(tmp_path: Path) -> None:
    async with front(tmp_path) as it:
        await it.type("data", "mine.jsonl", "enter", "enter")
        await wait_for(lambda: it.starts)
        assert it.starts[0][0].data.source == "mine.jsonl"


async def test_the_arrows_go_from_section_to_section(tmp_path: Path) -> None:
    async with front(tmp_path) as it:
        it.screen.show_runs([RunSummary(path=Path("a"), name="a-run", finished_steps=1, total_steps=2)])
        await it.press("right")
        assert it.selected.startswith("a-run")
        await it.press("right")
        assert it.selected.startswith("HuggingFaceTB")
        await it.press("right")
        assert it.selected.startswith("tiny")
        await it.press("left")
        assert it.selected.startswith("HuggingFaceTB")


async def test_before_the_disk_has_answered_a_run_can_be_started(tmp_path: Path) -> None:
    async with front(tmp_path, survey=None) as it:
        assert "looking…" in it.text("choices")
        assert "this machine: looking…" in it.text("title")
        await it.press("enter")
        await wait_for(lambda: it.starts)


async def test_what_is_found_later_does_not_move_the_cursor(tmp_path: Path) -> None:
    """Seen to fail with: the cursor kept as a number of the row."""
    async with front(tmp_path) as it:
        await it.choose("./my model")
        it.screen.show_runs(
            [RunSummary(path=Path(f"r{n}"), name=f"r{n}", total_steps=5) for n in range(MAX_RUNS + 3)]
        )
        assert it.selected.startswith("./my model")
        assert "3 older ones: o opens a run by its path" in it.text("choices")


# --- runs ------------------------------------------------------------------------------------------------


async def test_a_recent_run_is_viewed_read_only(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    async with front(tmp_path) as it:
        await it.press("right")
        assert it.selected.startswith("r  ")
        assert "Enter resume  v view" in it.keys.replace("   ", "  ")
        await it.press("v")
        await wait_for(lambda: isinstance(it.app.screen, LiveScreen))
        assert it.app.view is not None
        view = it.app.view
        assert view.session.read_only
        await wait_for(lambda: view.state.last_step == 2)
        assert it.app.run_dir == run
        assert it.starts == []


async def test_a_run_in_training_is_viewed_and_a_damaged_one_told(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    async with front(tmp_path) as it:
        running = RunSummary(path=run, name="busy", finished_steps=1, total_steps=9, running=True)
        bad = RunSummary(path=tmp_path / "bad", name="bad", problem="cannot [read] it")
        it.screen.show_runs([bad, running])
        await it.choose("bad")
        await it.press("enter")
        assert "cannot [read] it" in it.text("about")
        assert isinstance(it.app.screen, WelcomeScreen)
        await it.choose("busy")
        assert "another process is training it" in it.text("about")
        await it.press("enter")
        await wait_for(lambda: isinstance(it.app.screen, LiveScreen))
        assert it.app.view is not None
        assert it.app.view.session.read_only


async def test_a_typed_run_becomes_a_row_to_resume_or_view(tmp_path: Path) -> None:
    run = recorded(tmp_path / "elsewhere")
    async with front(tmp_path / "runs") as it:
        await it.type("path", str(run / "run.db"), "enter")
        await wait_for(lambda: "r  " in it.text("choices"))
        assert it.selected.startswith("r  ")
        assert str(run) in it.text("about")
        assert it.app.focused is not None
        assert it.app.focused.id == "choices"
        await it.press("enter")
        await wait_for(lambda: it.starts)
        assert it.starts[0][1:] == (run, True, True)


async def test_a_typed_folder_of_completions_is_viewed(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = {"step": [1, 1], "prompt": ["1+1?"] * 2, "completion": ["2", "3"], "acc": [1.0, 0.0]}
    parquet.write_table(pa.table({**table, "advantage": [0.7, -0.7]}), tmp_path / "completions_00001.parquet")
    async with front(tmp_path / "runs") as it:
        await it.type("path", str(tmp_path), "enter")
        await wait_for(lambda: isinstance(it.app.screen, LiveScreen))
        assert it.app.view is not None
        view = it.app.view
        await wait_for(lambda: view.state.last_step == 1)
        assert view.session.read_only


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("no/such [b]place", "there is nothing at no/such [b]place"),
        ("{tmp}", "neither a run (run.db) nor TRL completions"),
        ("x\x00y", "there is nothing at"),
        ("~nobody-of-that-name", "cannot open ~nobody-of-that-name"),
    ],
)
async def test_a_path_that_holds_nothing_is_one_line(path: str, line: str, tmp_path: Path) -> None:
    async with front(tmp_path / "runs", size=(160, 40)) as it:
        await it.type("path", path.replace("{tmp}", str(tmp_path)), "enter")
        await wait_for(lambda: line in it.text("about"))
        assert isinstance(it.app.screen, WelcomeScreen)


def test_any_text_is_a_path_or_one_line(tmp_path: Path) -> None:
    for text in HOSTILE:
        if not text.strip():
            continue
        with pytest.raises(ValueError, match=r".+"):
            opened(text)


async def test_a_recording_that_vanished_is_told_and_one_stays(tmp_path: Path) -> None:
    async with front(tmp_path) as it:
        gone = RunSummary(path=tmp_path / "gone", name="gone", finished_steps=1, total_steps=2)
        it.screen.show_runs([gone])
        await it.choose("gone")
        await it.press("v")
        await wait_for(lambda: it.app._notifications)
        assert isinstance(it.app.screen, WelcomeScreen)


# --- hostile text and sizes ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (40, 12), (20, 5)])
async def test_hostile_names_and_small_screens_are_harmless(size: tuple[int, int], tmp_path: Path) -> None:
    models = tuple(
        LocalModel(source=text, kind=HUB, shape=SMOLLM2, problem=text if n % 2 else "")
        for n, text in enumerate(HOSTILE)
    )
    async with front(tmp_path, survey=replace(MACHINE, models=models), size=size) as it:
        it.screen.show_runs(
            [
                RunSummary(
                    path=Path(f"p{n}{text[:40]}".replace("\0", "")), name=text, problem=text[: n % 3 * 9]
                )
                for n, text in enumerate(HOSTILE)
            ]
        )
        for _ in range(len(HOSTILE) * 2 + 8):
            await it.press("down")
        await it.press("enter", "m", "escape", "o", "escape")
        await wait_for(lambda: it.app.focused is not None and it.app.focused.id == "choices")
        view = it.screen.query_one("#choices", LinesView)
        for y in range(view.size.height):
            assert view.render_line(y).cell_length == view.scrollable_content_region.width
        assert "\x1b" not in "".join(s.text for y in range(view.size.height) for s in view.render_line(y))


async def test_a_chosen_model_is_started_under_its_own_name_however_odd(tmp_path: Path) -> None:
    """What is shown is cleaned, what is loaded is not. Seen to fail with: the text of the line loaded."""
    odd = replace(HERE, source="./odd\u202e\x1b name")
    async with front(tmp_path, survey=replace(MACHINE, models=(odd,))) as it:
        await it.press("right", "enter")
        assert "\x1b" not in it.screen.query_one("#model", Input).value
        await it.press("enter")
        await wait_for(lambda: it.starts)
        assert it.starts[0][0].model.source == odd.source


async def test_on_a_tiny_screen_a_line_can_still_be_typed(tmp_path: Path) -> None:
    async with front(tmp_path, size=(40, 12)) as it:
        await it.press("d")
        field = it.screen.query_one("#data", Input)
        await wait_for(lambda: field.size.width > 20)
        assert not it.screen.query_one("#model", Input).display
        await it.press("x", ".", "j", "enter")
        assert field.value == "x.j"


def test_every_row_fits_any_width() -> None:
    for width in (20, 36, 76, 116, 200):
        runs = [RunSummary(path=Path("x"), name="n" * 90, finished_steps=3, total_steps=9, last_reward=0.5)]
        for line, choice in rows(width, runs, MACHINE, SMOL.source):
            assert sum(len(text) for text, _ in line) <= max(width, 46) or choice is None
    assert Choice(model=SMOL).key != Choice(preset=SMOL.source).key
