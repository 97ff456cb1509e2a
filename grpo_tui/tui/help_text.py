"""The words of the program, with the formulas behind its numbers."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str, str], ...] = (
    (
        "group",
        "",
        "The responses to one prompt. Their rewards are compared with each other; there is no critic.",
    ),
    (
        "advantage",
        "A = (R − mean) / (sd + 1e-4)",
        "How much better a response is than its group; mean and sd are over the group. Above 0 it is made likelier.",
    ),
    (
        "signal",
        "sd of the rewards in a group",
        "What the update can learn from. Groups are sorted by it, so what teaches comes first.",
    ),
    (
        "dead group  ·",
        "all rewards equal  →  every A = 0",
        "Too easy (all right), too hard (none right), identical text, or equal rewards otherwise: the group adds nothing "
        "to the update, whatever it cost to sample. groups.resample_tries replaces such groups. (With a critic or a running "
        "baseline, which do not compare inside a group, it still pushes.)",
    ),
    (
        "form only  !",
        "rewards differ, verdicts do not",
        "All responses are equally right or wrong; only a format or length reward makes a difference between them.",
    ),
    (
        "pushed",
        "−∂L/∂log π, summed over tokens",
        "How hard the update pushed a response: A × ρ × unclipped × aggregation weight, token by token.",
    ),
    (
        "heat",
        "8 shades to the 98th percentile, or 4 on each side of nothing",
        "What a token's colour is of: t changes it. A channel that would be one flat colour says why instead. Underlined (⊘) "
        "is a token that the clip or a mask kept from being pushed; italic is the answer that was judged.",
    ),
    (
        "Δlog-prob",
        "log π_now − log π_sampled",
        "What updates did to a token's log-prob: of its own step, if the weights in memory are those after it; else the "
        "legend names the step whose weights they are.",
    ),
    (
        "odds of dead",
        "p^G + (1 − p)^G",
        "How likely all G responses are right or all wrong, if each is right with probability p (here: the share of right "
        "answers this prompt has had so far).",
    ),
    (
        "probe",
        "ln p of the gold = Σ log π(token | prompt, tokens before)",
        "A pinned prompt that is read around updates: a greedy answer, a sample that draws the same random numbers each time, "
        "and the log-prob of the gold answer straight after the prompt, at temperature 1. The training does not notice.",
    ),
    (
        "expected odds",
        "E[p^G + (1 − p)^G], p ~ Beta(k + ½, n − k + ½)",
        "In the room of dead groups: the odds that the next group is dead, averaged over what k right answers of n, in the "
        "prompt's last four groups, say of p. Never quite 0 or 1, because few answers prove little.",
    ),
    (
        "disputed",
        "",
        "Somebody said that the verdict is wrong. It is a line of disputes.jsonl now, ready for the verifier's tests; "
        "the reward of the step stays as it was.",
    ),
    (
        "revised",
        "",
        "What other rules judged of a recorded answer, kept beside its verdict. The record itself is never rewritten.",
    ),
    (
        "ratio",
        "ρ = exp(log π − log π_old)",
        "How much likelier a token became since it was sampled. On the first gradient step ρ = 1.",
    ),
    (
        "clip",
        "min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A)",
        "Beyond the bound a token stops pushing. clip frac is the share of tokens where that happened.",
    ),
    (
        "kl_ref",
        "k3 = exp(ℓref − ℓ) − (ℓref − ℓ) − 1",
        "Distance of the policy from the model it started from, per token; never negative. beta weighs it in the loss.",
    ),
    (
        "kl_old",
        "the same k3, to the policy that sampled",
        "How far the gradient steps of one update have moved.",
    ),
    (
        "kl step",
        "exact KL(before ‖ after), nats a token",
        "How far one whole update moved the policy, over the whole vocabulary. TRPO keeps it within its limit.",
    ),
    (
        "critic",
        "1 − Var(return − V) / Var(return)",
        "With PPO: the share of the returns' variance that the value function explains. 1 is perfect, 0 is none.",
    ),
    (
        "entropy",
        "−Σ p log p, nats",
        "How undecided the policy is at each token. Falling fast with a flat reward: it repeats itself.",
    ),
    (
        "reward",
        "Σ weight · component",
        "What the update maximises. The mean is over all responses of the step.",
    ),
    (
        "agrees",
        "share of (right, wrong) pairs of a group",
        "How often the reward model gives the right response more, ties one half; n pairs. Near 50% it pays noise: "
        "then watch whether accuracy falls while the reward rises.",
    ),
    (
        "playground",
        "base | adapter | adapter at a kept step",
        "Any prompt, sampled from each with the same random numbers, while paused or between phases: where two answers "
        "part, the weights did it. Nothing of the training changes. The pass rate's bracket is a 95 % Wilson interval.",
    ),
    (
        "pre-flight",
        "dead share of 16 prompts, 95 % Wilson interval",
        "Prompts sampled and scored as training would, from random streams of their own: nothing of the training changes. "
        "With smaller groups: Σ C(n_r, k) / C(G, k) over rewards r, averaged over prompts, the odds that k responses have "
        "one reward.",
    ),
    (
        "fit, estimated",
        "weights + adapter + larger of sampling (copy of the layers, cache) and activations",
        "On the first screen: arithmetic from a model's files. Measured it is by f in the pre-flight room (0), or by "
        "grpo-tui doctor --fit.",
    ),
    ("held-out", "accuracy, 95 % Wilson interval", "Greedy answers to problems that are never trained on."),
    (
        "verdict",
        "✓ ✗ ≈ ? ø t !",
        "correct · wrong · near miss · unparsed · no answer · timed out · crash. ░ is not yet scored.",
    ),
    ("grad norm", "‖∇‖ before clipping", "Size of the update's gradient over the adapter."),
    (
        "health",
        "⚠ ◇ ✓",
        "Checks over the last 10 steps, against the 10 before where a change is judged: known to spoil runs, unusual, well. "
        "h shows evidence, advice and the settings it is about.",
    ),
    (
        "↗ ↘ →",
        "|change| ≥ 2.5 standard errors",
        "The mean of the last 10 steps against the 10 before (fewer at first). → means that the change is within its noise.",
    ),
    (
        "±, dots",
        "sd of the groups' mean rewards",
        "The spread around the reward's curve: how unlike the prompts of a step are. ○ is held-out accuracy.",
    ),
    (
        "filter",
        'reward<1 & len>150 & verdict=unparsed & prompt~"fraction"',
        "In History, f lists the responses for which it holds. Fields: step, reward, advantage, len (tokens), verdict, "
        "finish, kl_ref, entropy, prompt, answer (the gold one), text, and every reward component by name. < <= = != >= > "
        "and ~ (contains); & | ! and brackets. A comparison with something that is not known is false.",
    ),
    (
        "┊",
        "from here on a setting is another",
        "Settings change in room 5 while the run runs. A step is computed under one config: a change counts in the step in "
        "progress where nothing of it has read the setting yet (lr before the update, say), else from the next.",
    ),
    (
        "preview",
        "Δℓ ≈ d · ∇ℓ, part = g_i · g / ‖g‖²",
        "Room 8, paused before an update: d is the step that the update would really move the adapter by, taken and put back; "
        "g its gradient before the norm is clipped, g_i one answer's part of it. All parts sum to 100%.",
    ),
    (
        "what-if",
        "cos = g_a · g_b / (‖g_a‖ ‖g_b‖)",
        "The same batch under other losses. At the weights that sampled every ratio is 1, so that clips cannot differ; after one "
        "update (a) they can.",
    ),
    (
        "receipt",
        "Δlogp = log π_new(answer) − log π_old(answer)",
        "After an update: whether each answer moved the way its advantage asked. run.receipts makes one of every update.",
    ),
    (
        "mismatch",
        "sampler's ℓ − update's ℓ, same weights",
        "Both should agree to rounding. Each way from one to the other (cache, folded adapter, lean layers, dropout, dtype) is "
        "walked by itself and measured.",
    ),
    (
        "breakpoint",
        "any group: sd == 0 and mean_length > 150",
        "B lists them. A run stops by itself at a phase (before update), or before an update for which a condition holds: "
        "asked of the step, or of any / all / no group or response. It is asked before advantages, reference and update, so "
        "what it stops can still be changed. Examples and every measure stand beside the line.",
    ),
    (
        "acts  ✎ ⊖",
        "O x X W R +, Bksp takes back",
        "What you change of a step between its judging and its update: a verdict, a reward, who takes part (⊖ is kept out of "
        "comparison and loss), a group drawn anew or made larger. Advantages follow at once; acts are recorded, marked on the "
        "charts (┊), and in `grpo-tui export --what acts`.",
    ),
    (
        "fork",
        "f on a token: before it | after it | another instead",
        "Sampling on from inside a response: how often it ends well from before the token and from after it, with 95 % Wilson "
        "intervals, and where single continuations part. Nothing of the step changes.",
    ),
    (
        "phases",
        "problems → sample → score → advantages → reference → update → emit",
        "The seven calls of one step. The engine can stop between any two of them; . runs just one.",
    ),
)

TERMINAL_TIPS: tuple[str, ...] = (
    "Over SSH, run inside tmux: a dropped line then does not end the run.",
    "ctrl+z stops the training too; `fg` continues both.",
    "Copies go through the terminal (OSC 52). In tmux: set -g set-clipboard on. The file named in the note always has it.",
    "Keys, theme and folders: `grpo-tui config init` writes a commented file, `grpo-tui config show` tells what holds.",
)
