"""Where the time of a step went, as lines for the help: each kind of pass with its tokens, its speed and its padding."""

from __future__ import annotations

from grpo_tui.events.records import PassReport, StepMetrics
from grpo_tui.tui.text import Line, count, duration, fit, memory, percent

NAME_WIDTH = 11


def timing_lines(metrics: StepMetrics | None) -> list[Line]:
    """What is known of a finished step's time; nothing where it was not measured (an older run file)."""
    timing = metrics.timing if metrics is not None else None
    if metrics is None or timing is None:
        return []
    lines: list[Line] = [
        ((f"Time of step {metrics.step}", "accent bold"), (f"  {duration(metrics.seconds)}", "bold"))
    ]
    passes = (
        ("prefill", timing.prefill),
        ("decode", timing.decode),
        ("reference", timing.reference),
        ("update", timing.update),
    )
    lines += [_pass_line(name, report) for name, report in passes if report.num_tokens]
    writing = f"{timing.run_file_seconds * 1000:.0f} ms"
    if metrics.seconds > 0:
        writing += f", {percent(timing.run_file_seconds / metrics.seconds)} of the step"
    lines.append(((fit("run file", NAME_WIDTH), "dim"), (writing, "")))
    if timing.device_peak_bytes is not None:
        lines.append(
            ((fit("memory", NAME_WIDTH), "dim"), (f"{memory(timing.device_peak_bytes)} on the device", ""))
        )
    return lines


def _pass_line(name: str, report: PassReport) -> Line:
    spans = [
        (fit(name, NAME_WIDTH), "dim"),
        (f"{count(report.num_tokens):>7} tok in {duration(report.seconds):>6}", ""),
        (f"  {count(round(report.tokens_per_second)):>7} tok/s", "bold"),
    ]
    if report.num_microbatches:
        plural = "" if report.num_microbatches == 1 else "es"
        spans.append(
            (f"  {report.num_microbatches} microbatch{plural}, {percent(report.padding)} padding", "dim")
        )
    return tuple(spans)
