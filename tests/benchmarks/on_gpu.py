"""Everything that is to be measured on a GPU, in order, within a time limit: ``python -m tests.benchmarks.on_gpu``.

Needs one CUDA device; ``--device cpu --quick`` shows on any machine that it runs. Each part is a process of its own, split off
from this one, which has imported everything and touched no device: on a machine lent by the minute imports and a packed model
take half a minute a process. So a .gguf file is unpacked once, too. What does not fit in the time left is told as not run, and
a part that fails does not end the rest. The parts:

* ``tests``    the tests of samplers, twins and losses, and those marked ``gpu``;
* ``decode``   decoding against the memory bandwidth at 1, 16 and 64 rows, bf16 and fp32;
* ``bf16``     bf16 beside fp32: what the generator's log-probs differ from the trainer's, and seconds a step;
* ``memory``   peak memory by group size, length, microbatch tokens and checkpointing;
* ``scaling``  step time by group size and length;
* ``trl``      a step of ours against TRL's (wants the ``bench`` extra and a real model);
* ``gsm8k``    a LoRA run of SmolLM2-135M-Instruct on GSM8K: held-out accuracy before and after, strict and lenient, with
  intervals, tokens and wall-clock. ``--data`` is the folder of ``train*.jsonl`` and ``test*.jsonl`` (or .parquet); without a
  test file a tenth of the training problems is held out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets  # noqa: F401 - what the parts need, imported once
import peft  # noqa: F401
import sympy  # noqa: F401
import torch
import transformers.models.llama.modeling_llama  # noqa: F401

from grpo_tui.ops.intervals import wilson_interval
from tests.benchmarks.tables import machine, markdown

ROOT = Path(__file__).parents[2]
PARTS = ("tests", "decode", "bf16", "memory", "scaling", "trl", "gsm8k")


class NotRun(Exception):
    """A part that cannot run here; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What became of a part."""

    name: str
    state: str
    """``ok``, ``failed``, ``out of time`` or ``not run``."""
    seconds: float
    report: str


@dataclass(frozen=True)
class Bench:
    """The arguments, and how much time is left."""

    model: str
    device: str
    quick: bool
    data: Path | None
    steps: int
    deadline: float

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return self.deadline - time.monotonic()

    def run(self, *words: str) -> str:
        """A module in a process of its own, within the time left; its stdout.

        Raises:
            subprocess.TimeoutExpired: it took too long, and was ended.
            RuntimeError: it failed; the message is the end of what it said.
        """
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as out,
            tempfile.TemporaryFile("w+", encoding="utf-8") as err,
        ):
            code = _split_off(words, out.fileno(), err.fileno(), max(1.0, self.left))
            out.seek(0)
            err.seek(0)
            said, complaint = out.read(), err.read()
        if code:
            raise RuntimeError("\n".join((said + complaint).strip().splitlines()[-15:]))
        return said.strip()

    def benchmark(self, name: str, *words: str) -> str:
        """One of the benchmarks beside this file."""
        quick = ("--quick",) if self.quick else ()
        return self.run(
            f"tests.benchmarks.{name}", "--model", self.model, "--device", self.device, *quick, *words
        )


def _split_off(words: Sequence[str], out: int, err: int, limit: float) -> int:
    """Run a module as a program in a copy of this process; its exit code.

    Raises:
        subprocess.TimeoutExpired: it took too long, and was ended with all that it had started.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setsid()
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.chdir(ROOT)
            code = _program(words)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    deadline = time.monotonic() + limit
    try:
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        raise subprocess.TimeoutExpired(list(words), limit)
    except BaseException:  # it leads a session of its own, so that nothing else would end it
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


def _program(words: Sequence[str]) -> int:
    """Run a module as if it were the program; its exit code."""
    sys.argv = list(words)
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def unpack(path: Path, folder: Path) -> None:
    """Make a folder of plain bf16 weights of a .gguf file."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    packed = GgufConfig(gguf_file=path.name, dequantize=True)
    AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name).save_pretrained(folder)
    plain = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.bfloat16, quantization_config=packed
    )
    plain.save_pretrained(folder)


def run_tests(bench: Bench) -> str:
    """The tests that need a device, and those that use one where it is."""
    files = (
        ["tests/generation/test_choice.py"]
        if bench.quick
        else ["tests/generation", "tests/policy", "tests/ops"]
    )
    # Split off, pytest finds modules imported that it would rather have imported itself.
    options = [
        *("-q", "-p", "no:xdist", "-p", "no:benchmark", "-p", "no:cacheprovider"),
        *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
    ]
    if bench.device == "cpu":
        return bench.run("pytest", *options, *files).splitlines()[-1]
    said = [bench.run("pytest", *options, *part) for part in (("-m", "gpu", "tests"), files)]
    return "\n".join(text.splitlines()[-1] for text in said)


def run_decode(bench: Bench) -> str:
    """Both precisions."""
    dtypes = ("fp32",) if bench.quick else ("bf16", "fp32")
    return "\n\n".join(bench.benchmark("decode", "--dtype", dtype) for dtype in dtypes)


def run_precision(bench: Bench) -> str:
    """Steps in bf16 and fp32, and how far the sampler's log-probs stand from the trainer's."""
    rows = []
    for dtype in ("fp32", "bf16"):
        found = json.loads(
            bench.run("tests.benchmarks.on_gpu", "--child", dtype, "--model", bench.model, "--device", bench.device,
                      *(("--quick",) if bench.quick else ())).splitlines()[-1]
        )  # fmt: skip
        rows.append(
            (
                dtype,
                f"{found['seconds']:.2f}",
                f"{found['worst']:.2g}",
                f"{found['mean']:.2g}",
                f"{found['peak'] / 1e9:.2f}",
            )
        )
    return markdown(("dtype", "s a step", "largest |Δ log-prob|", "mean", "peak GB"), rows)


def precision_child(model: str, device: str, dtype: str, quick: bool) -> dict[str, float]:
    """In this process: the differences of one rollout batch, and some steps."""
    from grpo_tui.engine.batch import add_reference_logprobs
    from grpo_tui.engine.rows import known, make_rows
    from grpo_tui.events.records import Phase
    from tests.benchmarks.steps import measured, phase_seconds, trainer_for
    from tests.engine.support import free_gate, sampled

    options = (
        f"sampling.group_size={4 if quick else 64}",
        f"sampling.max_completion_tokens={8 if quick else 128}",
    )
    with trainer_for(model, *options, device=device, dtype=dtype) as trainer:
        rollout = sampled(trainer)
        rows = make_rows(trainer, rollout.prompts, rollout.groups)
        # A new adapter is 0: the reference is the policy that sampled, and what differs is the two implementations alone.
        add_reference_logprobs(trainer, 1, rows, free_gate(trainer), Phase.REFERENCE)
        apart = torch.cat(
            [(row.sampled_logprobs_T - known(row.ref_logprobs_T)).float().abs() for row in rows]
        )
        metrics = measured(trainer, 1 if quick else 4)
    return {
        "seconds": phase_seconds(metrics, ""),
        "peak": metrics[-1].peak_memory_bytes,
        "worst": float(apart.max()),
        "mean": float(apart.mean()),
    }


def run_memory(bench: Bench) -> str:
    """Peak memory."""
    return bench.benchmark("peak_memory")


def run_scaling(bench: Bench) -> str:
    """Step time."""
    return bench.benchmark("scaling")


def run_trl(bench: Bench) -> str:
    """Against TRL."""
    if bench.model == "tiny":
        raise NotRun("give a real model with --model")
    prompts = "2" if bench.device == "cpu" else "8"  # × 8 answers: on a GPU, 64 rows
    return bench.run(
        "tests.benchmarks.trl_step", "--model", bench.model, "--steps", "4", "--prompts", prompts
    )


def run_gsm8k(bench: Bench) -> str:
    """The recipe: LoRA r16, 16 prompts × 16 answers of at most 256 tokens, lr 1e-5, β 0; held out: 400 problems, greedy."""
    if bench.data is None:
        raise NotRun("give the folder of the problems with --data")
    train, test = _file(bench.data, "train"), _file(bench.data, "test")
    if train is None:
        raise NotRun(f"{bench.data} holds no train*.jsonl and no train*.parquet")
    steps = 1 if bench.quick else bench.steps
    num_eval = 4 if bench.quick else 400
    size = (2, 2, 16) if bench.quick else (16, 16, 256)
    settings = {
        "model.source": bench.model, "model.device": bench.device,
        "data.source": train, **({"data.eval_source": test} if test else {"data.eval_fraction": 0.1}),
        "sampling.prompts_per_step": size[0], "sampling.group_size": size[1], "sampling.max_completion_tokens": size[2],
        "optim.lr": 1e-5, "optim.max_tokens_per_microbatch": 32768, "algorithm.beta": 0,
        "eval.every": steps, "eval.num_problems": num_eval, "eval.temperature": 0, "run.checkpoint_every": 50,
    }  # fmt: skip
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        said = bench.run(
            "grpo_tui",
            "train",
            "--preset",
            "gsm8k",
            *words,
            "--steps",
            f"{steps}",
            "--json",
            "--out",
            f"{folder}/run",
        )
    objects = [json.loads(line) for line in said.splitlines()]
    return gsm8k_report(objects, time.monotonic() - started)


def gsm8k_report(objects: Sequence[dict[str, object]], seconds: float) -> str:
    """Held-out accuracy before and after, both readings, from the JSON lines of ``grpo-tui train --json``."""
    rows = []
    for data in objects:
        if not isinstance(found := data.get("eval"), dict):
            continue
        n, strict, lenient = found["num_problems"], found["accuracy"], found.get("accuracy_lenient")
        cells = [f"{data['step']}", f"{strict:.3f} [{found['low']:.3f}, {found['high']:.3f}]"]
        if lenient is None:
            cells.append("–")
        else:
            low, high = wilson_interval(round(lenient * n), n)
            cells.append(f"{lenient:.3f} [{low:.3f}, {high:.3f}]")
        rows.append((*cells, f"{n}"))
    steps = [data for data in objects if "eval" not in data]
    tokens = sum(int(str(data["num_sampled_tokens"])) for data in steps)
    table = markdown(("after step", "strict, 95 %", "lenient, 95 %", "n"), rows)
    return f"{table}\n\n{len(steps)} steps, {tokens:,} completion tokens, {seconds / 60:.1f} minutes in all"


def _file(folder: Path, name: str) -> Path | None:
    found = sorted(path for path in folder.glob(f"{name}*") if path.suffix in (".jsonl", ".parquet"))
    return found[0] if found else None


RUNNERS: dict[str, Callable[[Bench], str]] = dict(
    zip(
        PARTS,
        (run_tests, run_decode, run_precision, run_memory, run_scaling, run_trl, run_gsm8k),
        strict=True,
    )
)


def attempt(name: str, bench: Bench) -> Outcome:
    """Run one part; whatever becomes of it is an outcome."""
    started = time.monotonic()
    if bench.left <= 1:
        return Outcome(name, "not run", 0.0, "no time was left")
    try:
        state, report = "ok", RUNNERS[name](bench)
    except NotRun as reason:
        state, report = "not run", str(reason)
    except subprocess.TimeoutExpired:
        state, report = "out of time", "ended at the time limit"
    except Exception as error:
        state, report = "failed", f"{type(error).__name__}: {error}"
    return Outcome(name, state, time.monotonic() - started, report)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts and print the report; 1 where one failed."""
    parser = argparse.ArgumentParser(description="Everything that is to be measured on a GPU.")
    parser.add_argument(
        "--model", default="tiny", help="a .gguf file of SmolLM2-135M-Instruct for the real thing"
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", type=Path, help="folder of GSM8K's train and test problems")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas between")
    parser.add_argument("--minutes", type=float, default=15.0, help="limit for all parts together")
    parser.add_argument("--steps", type=int, default=100, help="of the GSM8K run")
    parser.add_argument("--quick", action="store_true", help="the smallest form of each part")
    parser.add_argument("--report", type=Path, help="append the report to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--unpack", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.unpack:
        unpack(Path(arguments.model), arguments.unpack)
        return 0
    if arguments.child:
        found = precision_child(arguments.model, arguments.device, arguments.child, arguments.quick)
        print(json.dumps({key: value if math.isfinite(value) else None for key, value in found.items()}))
        return 0
    parts = arguments.parts.split(",")
    unknown = [name for name in parts if name not in RUNNERS]
    if unknown:
        parser.error(f"--parts: there is no {unknown[0]}; there are {', '.join(PARTS)}")
    deadline = time.monotonic() + 60 * arguments.minutes
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = (
        "1"  # else asking for a device would touch it, and no child could
    )
    with tempfile.TemporaryDirectory() as folder:
        if arguments.model.endswith(".gguf"):
            # Split off too: threads that have computed here would be missing in every copy of this process.
            words = ("tests.benchmarks.on_gpu", "--unpack", folder, "--model", arguments.model)
            if _split_off(words, sys.stderr.fileno(), sys.stderr.fileno(), deadline - time.monotonic()):
                parser.error(f"--model: {arguments.model} could not be unpacked")
            arguments.model = folder
        return _all_parts(arguments, parts, deadline)


def _all_parts(arguments: argparse.Namespace, parts: Sequence[str], deadline: float) -> int:
    bench = Bench(
        arguments.model, arguments.device, arguments.quick, arguments.data, arguments.steps, deadline
    )
    outcomes = []
    for name in parts:
        outcomes.append(attempt(name, bench))
        print(f"{name}: {outcomes[-1].state}, {outcomes[-1].seconds:.0f} s", file=sys.stderr, flush=True)
    text = "\n\n".join(
        [f"## On {arguments.device}: {machine()}"]
        + [f"### {o.name}: {o.state} ({o.seconds:.0f} s)\n\n{o.report}" for o in outcomes]
    )
    print(text)
    if arguments.report:
        with arguments.report.open("a", encoding="utf-8") as file:
            file.write(f"\n{text}\n")
    return int(any(outcome.state == "failed" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
