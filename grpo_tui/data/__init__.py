"""Problems: where they come from, how they become prompts, and which of them a step trains on."""

from grpo_tui.data.bundled import bundled_path
from grpo_tui.data.order import ProblemOrder
from grpo_tui.data.problem import DataError, LoadedProblems, Problem, Rejected
from grpo_tui.data.render import PromptTokenizer, RenderedPrompt, check_length, encode_prompt, render_prompt
from grpo_tui.data.sources import load_problems

__all__ = [
    "DataError",
    "LoadedProblems",
    "Problem",
    "ProblemOrder",
    "PromptTokenizer",
    "Rejected",
    "RenderedPrompt",
    "bundled_path",
    "check_length",
    "encode_prompt",
    "load_problems",
    "render_prompt",
]
