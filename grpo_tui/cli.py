"""The command line. Each command imports what it needs when it runs, so ``--help`` answers at once."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grpo_tui import __version__

if TYPE_CHECKING:
    from grpo_tui.config.schema import RunConfig
    from grpo_tui.events.commands import Request
    from grpo_tui.preferences.values import Preferences

EPILOG = """\
examples:
  grpo-tui                                      open the app; Enter trains the bundled tiny model
  grpo-tui run --preset gsm8k --set lr=1e-5     open the app on a run, paused before step 1
  grpo-tui train --preset tiny --steps 60       train without a screen
  grpo-tui train --break 'any group: dead'      save and stop before an update for which this holds
  grpo-tui train --preset gsm8k --set data.source=train.jsonl --set model.source=model.gguf --json
  grpo-tui resume runs/NAME                     go on where a run stopped
  grpo-tui view runs/NAME                       look at a run, finished or running; nothing is trained
  grpo-tui export runs/NAME --what completions  every answer of a run as Parquet; also adapter, merged, …
  grpo-tui doctor --fit MODEL                   does it train on this machine, in which microbatches?
  grpo-tui verify --gold 3/4 'so \\boxed{6/8}'   judge an answer and explain
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    try:
        return _run_command(build_parser().parse_args(argv))
    except KeyboardInterrupt:
        return 130


def _run_command(arguments: argparse.Namespace) -> int:
    from grpo_tui.config.errors import ConfigError
    from grpo_tui.runs.schema import RunFileError

    try:
        return int(arguments.function(arguments))
    except ConfigError as error:
        return _complain(str(error), 2)
    except RunFileError as error:
        return _complain(str(error), 1)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="grpo-tui",
        description="The debugger for reinforcement fine-tuning: watch, step and inspect GRPO.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"grpo-tui {__version__}")
    parser.add_argument("--runs", metavar="DIR", help="the folder that holds the runs (default: runs)")
    parser.add_argument("--theme", metavar="NAME", help="colours of the app, e.g. textual-light, ansi-dark")
    parser.set_defaults(function=_welcome)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    run = commands.add_parser("run", help="open the app on a run, paused before step 1")
    _add_run_options(run)
    _add_profile(run)
    _add_breaks(run, "the app stops there, before the update is applied")
    run.set_defaults(function=_run)

    train = commands.add_parser("train", help="train without a screen")
    _add_run_options(train)
    _add_profile(train)
    _add_breaks(train, "the run is saved and left there; resume goes on")
    train.add_argument("--steps", type=int, metavar="N", help="steps to train; short for --set run.steps=N")
    train.add_argument("--json", action="store_true", help="one JSON object a step on stdout")
    train.set_defaults(function=_train)

    resume = commands.add_parser("resume", help="go on exactly where a run stopped")
    resume.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    resume.add_argument("--headless", action="store_true", help="without a screen")
    resume.add_argument(
        "--steps", type=int, metavar="N", help="train up to step N in all instead of what was planned"
    )
    resume.add_argument(
        "--json", action="store_true", help="with --headless: one JSON object a step on stdout"
    )
    resume.set_defaults(function=_resume)

    _add_replay(commands)

    view = commands.add_parser("view", help="look at a finished or a running run, read-only")
    view.add_argument(
        "run", type=Path, metavar="RUN", help="the run's folder, or one of completions that TRL logged"
    )
    view.set_defaults(function=_view)

    from grpo_tui.compare.options import add_compare
    from grpo_tui.doctor_options import add_doctor
    from grpo_tui.export.options import add_export
    from grpo_tui.preferences.options import add_config
    from grpo_tui.reverify_options import add_reverify
    from grpo_tui.reward_model.options import add_train_reward
    from grpo_tui.verify_options import add_verify

    add_compare(commands).set_defaults(function=_compare)
    add_export(commands).set_defaults(function=_export)
    add_config(commands).set_defaults(function=_config_command)
    doctor = add_doctor(commands)
    _add_settings(doctor)
    doctor.set_defaults(function=_doctor)
    add_verify(commands).set_defaults(function=_verify)
    add_reverify(commands).set_defaults(function=_reverify)
    add_train_reward(commands).set_defaults(function=_train_reward)
    return parser


def _add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    replay = commands.add_parser("replay", help="repeat a recorded session and compare every state with it")
    replay.add_argument("run", type=Path, nargs="?", metavar="RUN", help="the run's folder")
    replay.add_argument("--from-script", type=Path, metavar="FILE", help="a script instead of a run")
    replay.add_argument(
        "--script", type=Path, metavar="FILE", help="write the run's script and replay nothing"
    )
    replay.add_argument(
        "--out", type=Path, metavar="DIR", help="keep the replayed run in this folder (default: nowhere)"
    )
    replay.set_defaults(function=_replay)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the run's folder (default: a new one below runs/)"
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset", metavar="NAME", help="tiny (default), gsm8k, math, cmath, workstation or deepseekmath"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file of settings, over the preset"
    )
    parser.add_argument(
        "--algorithm",
        metavar="NAME",
        help="grpo (default), dr_grpo, dapo, ppo, trpo …: sets every part of the update",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="one setting, over both",
    )


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile",
        nargs="?",
        type=_step_range,
        const=(2, 2),
        metavar="STEPS",
        help="write a profiler trace of step N or N-M (default: 2) into the run's folder, for ui.perfetto.dev",
    )


def _step_range(text: str) -> tuple[int, int]:
    """``3`` or ``3-5`` as the first and the last step."""
    match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a step (2) nor a range of steps (2-4)")
    return first, last


def _add_breaks(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--break",
        action="append",
        default=[],
        metavar="COND",
        dest="breaks",
        help=f"stop where this holds of a step, e.g. 'any group: sd == 0', or 'before update': {what}".replace(
            "%", "%%"
        ),
    )


def _requests(arguments: argparse.Namespace, run_dir: Path) -> tuple[Request, ...]:
    """What is asked of the engine before the first step."""
    return (*_break_requests(arguments), *_profile_requests(arguments, run_dir))


def _break_requests(arguments: argparse.Namespace) -> tuple[Request, ...]:
    """The breakpoints of the command line.

    Raises:
        ConfigError: one that cannot be read, with the column.
    """
    from grpo_tui.config.errors import ConfigError
    from grpo_tui.events.breakpoints import read_breakpoint
    from grpo_tui.events.commands import SetBreakpoint
    from grpo_tui.events.conditions import ConditionError

    requests = []
    for text in arguments.breaks:
        if not text.strip():
            raise ConfigError("--break", "", "a condition or a phase is missing, e.g. 'any group: sd == 0'")
        try:
            read = read_breakpoint(text)
        except ConditionError as error:
            raise ConfigError(f"--break '{text}'", "", str(error)) from None
        requests.append(SetBreakpoint(condition=read.condition, phase=read.phase or "", after=read.after))
    return tuple(requests)


def _profile_requests(arguments: argparse.Namespace, run_dir: Path) -> tuple[Request, ...]:
    from grpo_tui.events.commands import ProfileSteps

    if arguments.profile is None:
        return ()
    first, last = arguments.profile
    return (ProfileSteps(first=first, last=last, folder=str(run_dir)),)


def _preferences(arguments: argparse.Namespace) -> Preferences:
    from grpo_tui.preferences.values import load_preferences

    return load_preferences(arguments={"paths.runs": arguments.runs, "theme": arguments.theme})


def runs_root(arguments: argparse.Namespace) -> Path:
    """The folder that new runs are made in; what is wrong with the preferences goes to stderr."""
    preferences = _preferences(arguments)
    for problem in preferences.problems:
        sys.stderr.write(f"grpo-tui: config: {problem}\n")
    return preferences.runs


def _config(arguments: argparse.Namespace) -> RunConfig:
    from grpo_tui.config.load import load_config

    overrides = list(arguments.overrides)
    if getattr(arguments, "algorithm", None) is not None:
        overrides.insert(0, f"algorithm.name={arguments.algorithm}")
    if getattr(arguments, "steps", None) is not None:
        overrides.append(f"run.steps={arguments.steps}")
    preset = arguments.preset or (None if arguments.config else "tiny")
    return load_config(preset=preset, file=arguments.config, overrides=overrides)


def _run_dir(arguments: argparse.Namespace, config: RunConfig) -> Path:
    if arguments.out is not None:
        if (arguments.out / "run.db").exists():
            from grpo_tui.config.errors import ConfigError

            message = f"holds a run; go on with: grpo-tui resume {arguments.out}, or choose another folder"
            raise ConfigError(f"--out {arguments.out}", "", message)
        return Path(arguments.out)
    from grpo_tui.runs.store import new_run_dir, run_name

    return new_run_dir(runs_root(arguments), run_name(config))


def _welcome(arguments: argparse.Namespace) -> int:
    from grpo_tui.tui.app import run_app

    return run_app(config=None, preferences=_preferences(arguments), paused=False)


def _run(arguments: argparse.Namespace) -> int:
    config = _config(arguments)
    _break_requests(arguments)
    from grpo_tui.tui.app import run_app

    run_dir = _run_dir(arguments, config)
    return run_app(
        config=config,
        preferences=_preferences(arguments),
        run_dir=run_dir,
        paused=True,
        requests=_requests(arguments, run_dir),
    )


def _train(arguments: argparse.Namespace) -> int:
    config = _config(arguments)
    _break_requests(arguments)
    from grpo_tui.console import train

    run_dir = _run_dir(arguments, config)
    requests = _requests(arguments, run_dir)
    return train(config, run_dir, resume=False, as_json=arguments.json, requests=requests)


def _resume(arguments: argparse.Namespace) -> int:
    from grpo_tui.config.load import load_config

    run_dir: Path = arguments.run
    if not (run_dir / "run.db").is_file():
        return _complain(
            f"{run_dir} is not a run (it has no run.db); give the folder of one, e.g. below runs/", 2
        )
    overrides = [f"run.steps={arguments.steps}"] if arguments.steps is not None else []
    config = load_config(preset=None, file=run_dir / "config.toml", overrides=overrides)
    if arguments.headless or arguments.json:
        from grpo_tui.console import train

        return train(config, run_dir, resume=True, as_json=arguments.json)
    from grpo_tui.tui.app import run_app

    return run_app(config=config, preferences=_preferences(arguments), resume=run_dir, paused=True)


def _replay(arguments: argparse.Namespace) -> int:
    if (arguments.run is None) == (arguments.from_script is None):
        return _complain("give the folder of a run, or --from-script FILE", 2)
    from grpo_tui.replay import run

    return run(arguments)


def _view(arguments: argparse.Namespace) -> int:
    from grpo_tui.runs.schema import RunFileError
    from grpo_tui.tui.app import view_run

    try:
        return view_run(arguments.run, _preferences(arguments))
    except RunFileError as error:
        return _complain(str(error), 2)


def _compare(arguments: argparse.Namespace) -> int:
    from grpo_tui.compare.command import run

    return run(arguments, runs_root(arguments))


def _export(arguments: argparse.Namespace) -> int:
    from grpo_tui.export.command import run
    from grpo_tui.export.errors import ExportError

    try:
        return run(arguments)
    except ExportError as error:
        return _complain(str(error), 2)


def _config_command(arguments: argparse.Namespace) -> int:
    from grpo_tui.preferences.command import run

    return run(arguments.do, _preferences(arguments), as_json=arguments.json)


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.fit is not None:
        arguments.overrides = [*arguments.overrides, f"model.source={arguments.fit}"]
    if arguments.prompt_tokens < 0:
        return _complain(f"--prompt-tokens {arguments.prompt_tokens}: must be at least 0", 2)
    config = _config(arguments)
    from grpo_tui.doctor import run

    return run(arguments, config)


def _verify(arguments: argparse.Namespace) -> int:
    from grpo_tui.verify import run

    return run(arguments)


def _reverify(arguments: argparse.Namespace) -> int:
    from grpo_tui.reverify import run

    return run(arguments)


def _train_reward(arguments: argparse.Namespace) -> int:
    from grpo_tui.reward_model.command import run

    return run(arguments)


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"grpo-tui: error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
