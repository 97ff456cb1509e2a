"""A GRPO step against TRL's: the same model, prompts, tokens and settings, one after the other in one run.

    python -m tests.benchmarks.trl_step --model SmolLM2-135M-Instruct.Q4_1.gguf [--dtype bf16] [--steps 4] [--prompts 2] [--in-turns]

Both run on the GPU where there is one. Each side is a process of its own, so that peak memory (on a GPU the device's, else the
process's) is its own. Sampled tokens a second are those of TRL's generation with transformers, and of our phase of sampling. ``--in-turns``: both are loaded, and while one takes a step,
the other waits; a machine that is slower at times is so for both, but neither finds its memory as it left it. Needs ``trl``
(the extra ``bench``). The first step of each is warm-up and is left out; what is told is the median of the others.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROMPTS = [
    "A baker fills 7 trays with 12 rolls each and sells 59 of the rolls. How many rolls are left?",
    "A train covers 45 miles in each of the first 3 hours and 60 miles in the fourth. How far does it go in all?",
    "Nora reads 24 pages a day from Monday to Friday and 40 a day at the weekend. How many pages does she read in a week?",
    "A tank holds 300 litres and loses 18 litres an hour. How much is left in it after 7 hours?",
    "Tickets cost 8 dollars, for children half of that. What do 3 grown-ups and 5 children pay together?",
    "A rope of 96 metres is cut into 4 equal parts, and each of these into 3. How long is one piece in the end?",
    "Omar has 5 times as many stamps as Lea, who has 36. He gives a third of his away. How many has he then?",
    "A shop sells 140 pens in a week: a quarter on Monday, 45 on Tuesday, the rest later. How many are sold later?",
]
GROUP, TOKENS, RANK, BETA = 8, 128, 16, 0.04


def main() -> None:
    """Run both sides and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", default="bf16", choices=("bf16", "fp32"))
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument(
        "--prompts", type=int, default=2, choices=range(1, len(PROMPTS) + 1), help="of a step"
    )
    parser.add_argument("--child", choices=("ours", "trl"), help="one side only")
    parser.add_argument("--waits", action="store_true", help="of one side: wait for a line before each step")
    parser.add_argument("--in-turns", action="store_true", help="step by step instead of one after the other")
    arguments = parser.parse_args()
    if arguments.child:
        run = ours if arguments.child == "ours" else trl
        measured = run(arguments, _wait if arguments.waits else lambda: None)
        device_peaks = measured.pop("device_peak")[1:]
        peak = max(device_peaks) if any(device_peaks) else _process_peak()
        print(json.dumps(measured | {"peak": peak}), flush=True)
        return
    names = ("ours", "trl")
    if arguments.in_turns:
        told = in_turns([Side(name, arguments) for name in names], arguments.steps)
    else:
        told = [Side(name, arguments).end() for name in names]
    found = dict(zip(names, told, strict=True))
    print(f"{'':8}{'s/step':>8}{'tokens/step':>13}{'sampled tok/s':>15}{'peak GB':>9}")
    for side, row in found.items():
        print(
            f"{side:8}{_median(row, 'seconds'):8.2f}{_median(row, 'tokens'):13.0f}{_speed(row):15,.0f}"
            f"{row['peak'] / 1e9:9.2f}"
        )
    mine, theirs = found["ours"], found["trl"]
    print(
        f"steps per second: {_median(theirs, 'seconds') / _median(mine, 'seconds'):.2f} x TRL; sampled tokens per second: "
        f"{_speed(mine) / _speed(theirs):.2f} x; peak memory: {mine['peak'] / theirs['peak']:.2f} of TRL's"
    )


def _median(row: dict[str, Any], what: str) -> float:
    return float(statistics.median(row[what][1:]))


def _speed(row: dict[str, Any]) -> float:
    """Sampled tokens a second."""
    pairs = zip(row["tokens"][1:], row["sampling"][1:], strict=True)
    return float(statistics.median(tokens / seconds for tokens, seconds in pairs))


def _process_peak() -> int:
    """Most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _device_peak() -> int:
    """Most that was held on the device since this was asked last; 0 where there is none."""
    import torch

    if not torch.cuda.is_available():
        return 0
    peak = int(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    return peak


READY = "ready for a step"


def _wait() -> None:
    """Say that a step could begin, and wait to be told."""
    print(READY, flush=True)
    sys.stdin.readline()


def in_turns(sides: Sequence[Side], steps: int) -> list[dict[str, Any]]:
    """What each side tells at its end."""
    for _ in range(steps):
        for side in sides:
            side.step()
    return [side.end() for side in sides]


class Side:
    """A process that takes steps, in turns when told to."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        """Start it; in turns, wait until it is loaded."""
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.trl_step",
            "--child",
            name,
            "--model",
            arguments.model,
        ]
        command += ["--dtype", arguments.dtype, "--steps", str(arguments.steps)]
        command += ["--prompts", str(arguments.prompts)]
        command += ["--waits"] if arguments.in_turns else []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._last = ""
        if arguments.in_turns:
            self._until_it_waits()

    def step(self) -> None:
        """Have it take one."""
        assert self._process.stdin is not None
        if self._process.poll() is None:  # else end() says so
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
            self._until_it_waits()

    def end(self) -> dict[str, Any]:
        """What it said last.

        Raises:
            RuntimeError: it failed.
        """
        self._until_it_waits()
        if self._process.wait() != 0:
            raise RuntimeError(f"a side failed with exit code {self._process.returncode}")
        result: dict[str, Any] = json.loads(self._last)
        return result

    def _until_it_waits(self) -> None:
        """Until it is ready for a step, or has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == READY:
                return
            self._last = line


def ours(arguments: argparse.Namespace, wait: Callable[[], None]) -> dict[str, list[Any]]:
    """Seconds, completion tokens and seconds of sampling of each step of grpo-tui."""
    import tempfile

    from grpo_tui import Trainer, load_config

    with tempfile.TemporaryDirectory() as folder:
        problems = Path(folder) / "problems.jsonl"
        rows = [{"prompt": prompt, "answer": str(i)} for i, prompt in enumerate(PROMPTS[: arguments.prompts])]
        problems.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        config = load_config(
            preset="tiny",
            overrides=[
                f"model.source={arguments.model}",
                f"model.dtype={arguments.dtype}",
                f"data.source={problems}",
                "data.eval_fraction=0",
                "eval.every=0",
                f"sampling.prompts_per_step={arguments.prompts}",
                f"sampling.group_size={GROUP}",
                f"sampling.max_completion_tokens={TOKENS}",
                f"model.lora_rank={RANK}",
                f"algorithm.beta={BETA}",
                "optim.lr=1e-5",
                "reward.canaries=false",
                "reward.weights.math=0",
                "reward.weights.length=1",
            ],
        )
        trainer = Trainer.load(config)
        found: dict[str, list[Any]] = {"seconds": [], "tokens": [], "sampling": [], "device_peak": []}
        steps = trainer.steps(arguments.steps)
        for _ in range(arguments.steps):
            wait()
            started = time.perf_counter()
            metrics = next(steps)
            found["seconds"].append(time.perf_counter() - started)
            found["tokens"].append(metrics.num_completion_tokens)
            found["sampling"].append(metrics.seconds_by_phase["sample"])
            # What a step resets by itself it has told.
            found["device_peak"].append(
                max(_device_peak(), metrics.timing.device_peak_bytes or 0 if metrics.timing else 0)
            )
            phases = {
                name: round(value, 2) for name, value in metrics.seconds_by_phase.items() if value > 0.005
            }
            sys.stderr.write(f"ours: {found['seconds'][-1]:.2f} s {phases}\n")
        trainer.close()
    return found


def trl(arguments: argparse.Namespace, wait: Callable[[], None]) -> dict[str, list[Any]]:
    """The same of TRL's GRPOTrainer with transformers' generate."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    path = Path(arguments.model)
    dtype = torch.bfloat16 if arguments.dtype == "bf16" else torch.float32
    if path.is_dir():
        tokenizer = AutoTokenizer.from_pretrained(str(path))
        model = AutoModelForCausalLM.from_pretrained(str(path), dtype=dtype)
    else:
        packed = GgufConfig(gguf_file=path.name, dequantize=True)
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(
            str(path.parent), gguf_file=path.name, dtype=dtype, quantization_config=packed
        )
    found: dict[str, list[Any]] = {"seconds": [], "tokens": [], "sampling": [], "device_peak": []}

    def length(completions: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
        found["tokens"].append(sum(len(ids) for ids in completion_ids))
        return [-len(ids) / TOKENS for ids in completion_ids]

    class Clock(TrainerCallback):  # type: ignore[misc,unused-ignore]
        def on_step_begin(self, *_args: Any, **_kwargs: Any) -> None:
            wait()
            self.started = time.perf_counter()

        def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
            found["seconds"].append(time.perf_counter() - self.started)
            found["device_peak"].append(_device_peak())
            sys.stderr.write(
                f"trl: {found['seconds'][-1]:.2f} s, of it {found['sampling'][-1]:.2f} sampling\n"
            )

    class Timed(GRPOTrainer):  # type: ignore[misc,unused-ignore]
        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            drawn = super()._generate_single_turn(*args, **kwargs)  # gives lists: nothing is left in flight
            found["sampling"].append(time.perf_counter() - started)
            return drawn

    trainer = Timed(
        model=model,
        reward_funcs=length,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": prompt}]} for prompt in PROMPTS[: arguments.prompts]]
            * arguments.steps
        ),
        peft_config=LoraConfig(
            r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        args=GRPOConfig(
            output_dir="/tmp/trl_step",
            per_device_train_batch_size=arguments.prompts * GROUP,
            num_generations=GROUP,
            max_completion_length=TOKENS,
            beta=BETA,
            learning_rate=1e-5,
            max_steps=arguments.steps,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            shuffle_dataset=False,
        ),
        callbacks=[Clock()],
    )
    trainer.train()
    return found


if __name__ == "__main__":
    main()
