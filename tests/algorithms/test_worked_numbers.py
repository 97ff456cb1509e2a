"""Loss and gradient of every algorithm, worked by hand on :class:`tests.algorithms.batches.Worked`."""

from __future__ import annotations

import pytest
import torch

from grpo_tui.ops.advantages import compute_advantages
from tests.algorithms.batches import F64, LN2, NAMES, Worked, algorithm, f64

# Policy gradient of a token where it is not clipped: −ρA. By rows: −2, −1, −0.6655 | 1, 3.24 | −0.45.
# With ε = 0.2 the losses are −1.2 (clipped), −1, −0.6655 | 1.6 (clipped), 3.24 | −0.45: they sum to
# −2.8655 | 4.84 | −0.45, 1.5245 in all.

ROWS: dict[str, tuple[float, list[list[float]]]] = {
    # Weights 1/9 | 1/6 | 1/3: −2.8655/9 + 4.84/6 − 0.45/3 = 0.33827778.
    # k3 = e^{−u} + u − 1: ln 2 − ½, 0, 1 − ln 2 | ln 2 − ½ twice | 1 − ln 2: 0.5/9 + 0.38629436/6 + 0.30685282/3 = 0.22222222.
    # Its gradient 1 − e^{−u}: ½, 0, −1 | ½, ½ | −1, times β = 0.04: 0.02, 0, −0.04 | 0.02, 0.02 | −0.04.
    "grpo": (
        0.33827778 + 0.04 * 0.22222222,
        [[0.02 / 9, -1 / 9, -0.7055 / 9], [0.02 / 6, 3.26 / 6, 0.0], [-0.49 / 3, 0.0, 0.0]],
    ),
    # ρ of whole answers, and one weight 1 for each answer: −1.331 + 1.62 − 0.45 = −0.161. Every token of an answer has
    # the gradient of its −ρA. KL to old, u = ln ρ of the token: ρ k3 = 1 + ρ ln ρ − ρ = 0.38629436, 0, 0.06349733 |
    # 0.15342641, 0.16153036 | 0.00517554, summed 0.76992400; gradient ρ ln ρ: 1.38629436, 0, −0.27100267 | −0.34657359,
    # 0.78153036 | −0.09482446. A token's KL weighs 1.
    "grpo_basic": (
        -0.161 + 0.04 * 0.76992400,
        [
            [-1.331 + 0.04 * 1.38629436, -1.331, -1.331 - 0.04 * 0.27100267],
            [1.62 - 0.04 * 0.34657359, 1.62 + 0.04 * 0.78153036, 0.0],
            [-0.45 - 0.04 * 0.09482446, 0.0, 0.0],
        ],
    ),
    # 1/(3 · 10) each
    "dr_grpo": (
        1.5245 / 30,
        [[0.0, -1 / 30, -0.6655 / 30], [0.0, 3.24 / 30, 0.0], [-0.45 / 30, 0.0, 0.0]],
    ),
    # 1/6 each: the tokens of this minibatch
    "bnpo": (1.5245 / 6, [[0.0, -1 / 6, -0.6655 / 6], [0.0, 3.24 / 6, 0.0], [-0.45 / 6, 0.0, 0.0]]),
    # 1/8 each; the first token is clipped at 1.28: −0.08 more
    "dapo": (1.4445 / 8, [[0.0, -1 / 8, -0.6655 / 8], [0.0, 3.24 / 8, 0.0], [-0.45 / 8, 0.0, 0.0]]),
    # ρ = 1.1 > 1.0004 with A > 0: −1.0004; 0.9 < 0.9997 with A < 0: 2 · 0.9997 = 1.9994; 0.9 with A > 0: −0.45, not clipped.
    # The mean of the three: 0.549/3.
    "gspo": (0.183, [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [-0.15, 0.0, 0.0]]),
    # −ρAℓ, the cap of 5 does not act: 2, 2, 1.9965 | −1.5, −1.62 | 1.125, 4.0015 in all, 1/8 each; gradient −ρA
    "cispo": (4.0015 / 8, [[-2 / 8, -1 / 8, -0.6655 / 8], [1 / 8, 3.24 / 8, 0.0], [-0.45 / 8, 0.0, 0.0]]),
    # τ = 1 | 1.05 | 1; τ(ρ − 1) = 1, 0, −0.3345 | −0.525, 0.651 | −0.1; σ = 0.73105858, ½, 0.41714611 | 0.37168381,
    # 0.65723577 | 0.47502081. −(4/τ)σA = −2.92423431, −2, −1.66858443 | 2.83187666, 5.00751067 | −0.95004163;
    # −4σ(1−σ)ρA = −1.57289547, −1, −0.64722599 | 0.93413982, 2.91958877 | −0.44887687. Weights 1/9 | 1/6 | 1/3.
    "sapo": (
        -6.59281874 / 9 + 7.83938733 / 6 - 0.95004163 / 3,
        [
            [-1.57289547 / 9, -1 / 9, -0.64722599 / 9],
            [0.93413982 / 6, 2.91958877 / 6, 0.0],
            [-0.44887687 / 3, 0.0, 0.0],
        ],
    ),
    # ρ = 1.1, 0.9, 0.9, all within 0.2: −1.1 | 1.8 | −0.45 for each token, 1/3 each: (−3.3 + 3.6 − 0.45)/3.
    # A token moves its answer's ρ by ρ/length, and the answer's tokens weigh length/3 together: −1.1/3 | 0.6 | −0.15.
    "luspo": (-0.05, [[-1.1 / 3] * 3, [0.6, 0.6, 0.0], [-0.15, 0.0, 0.0]]),
    # w = 1.331, 0.81, 0.9. φ⁺ = w² e^{3−3w}: 1.771561 · 0.37046363 = 0.65629892; φ⁻ = w³ e^{2−2w}: 0.531441 · 1.46228459
    # = 0.77711798; φ⁺ = 0.81 · 1.34985881 = 1.09338563. −φAℓ: 0.65629892 · (1 + 2 + 3) | −2 · 0.77711798 · (1.5 + 0.5) |
    # 1.09338563 · 1.25; gradient −φA. 1/8 each.
    "vespo": (
        (3.93779353 - 3.10847194 + 1.36673204) / 8,
        [[-0.65629892 / 8] * 3, [1.55423597 / 8, 1.55423597 / 8, 0.0], [-0.54669282 / 8, 0.0, 0.0]],
    ),
    # −Aℓ: 1 + 2 + 3 | −3 − 1 | 1.25, 1/3 each; gradient −A
    "rloo": (3.25 / 3, [[-1 / 3] * 3, [2 / 3, 2 / 3, 0.0], [-0.5 / 3, 0.0, 0.0]]),
    "reinforce": (3.25 / 3, [[-1 / 3] * 3, [2 / 3, 2 / 3, 0.0], [-0.5 / 3, 0.0, 0.0]]),
    # As bnpo with 1/8 for each token
    "ppo": (1.5245 / 8, [[0.0, -1 / 8, -0.6655 / 8], [0.0, 3.24 / 8, 0.0], [-0.45 / 8, 0.0, 0.0]]),
    # −ρA, nothing clipped: −3.6655 | 4.24 | −0.45, 1/8 each
    "trpo": (0.1245 / 8, [[-2 / 8, -1 / 8, -0.6655 / 8], [1 / 8, 3.24 / 8, 0.0], [-0.45 / 8, 0.0, 0.0]]),
}

ONE_OF_FOUR = {
    # Rewards 1, 0, 0, 0: mean ¼; squares 9/16 + 3/16 = ¾; over 3: ¼; root ½.
    "zscore": [0.75 / 0.5001, -0.25 / 0.5001],
    "mean": [0.75, -0.25],
    "leave_one_out": [1.0, -1 / 3],
    "ema": [0.5, -0.5],  # baseline ½
}


@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_by_hand(name: str) -> None:
    # Seen to fail with: the sign of the policy term; β left out; the ratio always that of the token.
    loss, gradient = ROWS[name]
    worked = Worked(algorithm(name))
    assert worked.loss == pytest.approx(loss, abs=1e-8)
    torch.testing.assert_close(worked.gradient, f64(gradient), rtol=0, atol=1e-8)


def test_an_advantage_for_each_token() -> None:
    # Seen to fail with: the first token's advantage for all (as in advantages[:, :1]); padding of advantages not zeroed.
    # A = 1, ½, −1 | −2, −1 | ½: −1.2 (clipped), −0.5, 0.8 (clipped) | 1.6 (clipped), 1.62 | −0.45: 1.87; 1/8 each
    advantages = [[1.0, 0.5, -1.0], [-2.0, -1.0, float("nan")], [0.5, float("nan"), float("nan")]]
    worked = Worked(algorithm("ppo"), advantages)
    assert worked.loss == pytest.approx(1.87 / 8, abs=1e-14)
    expected = f64([[0.0, -0.5, 0.0], [0.0, 1.62, 0.0], [-0.45, 0.0, 0.0]]) / 8
    torch.testing.assert_close(worked.gradient, expected, rtol=0, atol=1e-14)
    assert worked.outputs.clipped_low_B_T.tolist() == [
        [False, False, True],
        [True, False, False],
        [False] * 3,
    ]
    assert worked.outputs.clipped_high_B_T.tolist() == [[True, False, False], [False] * 3, [False] * 3]


def test_gspo_within_its_bounds_moves_all_tokens_of_an_answer() -> None:
    # Seen to fail with: the ratio of the answer's product.
    # A = −1, 2, ½ turn the first two away from their bounds: 1.1 | −1.8 | −0.45, the mean −1.15/3.
    # Weights 1/9 · 3 tokens · ρA/3 | 1/6 · 2 · ρA/2 | 1/3
    worked = Worked(algorithm("gspo"), [[-1.0], [2.0], [0.5]])
    assert worked.loss == pytest.approx(-1.15 / 3, abs=1e-14)
    expected = f64([[1.1 / 9] * 3, [-0.3, -0.3, 0.0], [-0.15, 0.0, 0.0]])
    torch.testing.assert_close(worked.gradient, expected, rtol=0, atol=1e-14)


def test_cispo_caps_the_weight_and_drops_no_token() -> None:
    # Seen to fail with: the cap taken as 1 + clip_high.
    # cap 1.5: weights 1.5, 1, 0.6655 | 0.5, 1.5 | 0.9: −wAℓ = 1.5, 2, 1.9965 | −1.5, −1.5 | 1.125
    worked = Worked(algorithm("cispo", clip_high=1.5))
    assert worked.loss == pytest.approx(3.6215 / 8, abs=1e-14)
    expected = f64([[-1.5, -1.0, -0.6655], [1.0, 3.0, 0.0], [-0.45, 0.0, 0.0]]) / 8
    torch.testing.assert_close(worked.gradient, expected, rtol=0, atol=1e-14)
    assert worked.outputs.clipped_B_T.tolist() == [[True, False, False], [False, True, False], [False] * 3]


def test_settings_of_the_soft_gates_are_read() -> None:
    # Seen to fail with: SAPO's or VESPO's two sides swapped in the call.
    sapo = Worked(algorithm("sapo", sapo_tau_positive=2.0, sapo_tau_negative=3.0), [[1.0], [-1.0], [1.0]])
    # τ(ρ − 1) = 2, 0, −0.669 | −1.5, 1.86 | −0.2; σ = 0.88079708, ½, 0.33872079 | 0.18242552, 0.86529695 | 0.45016600
    # −(4/τ)σA: −2 σ | 4/3 σ | −2 σ
    expected = (
        -2 * (0.88079708 + 0.5 + 0.33872079) / 9 + 4 / 3 * (0.18242552 + 0.86529695) / 6 - 2 * 0.45016600 / 3
    )
    assert sapo.loss == pytest.approx(expected, abs=1e-7)
    changes = {
        "vespo_k_positive": 1.0,
        "vespo_lambda_positive": 0.5,
        "vespo_k_negative": 0.0,
        "vespo_lambda_negative": 2.0,
    }
    vespo = Worked(algorithm("vespo", **changes))
    # φ⁺ = w e^{(1−w)/2}: 1.331 · e^{−0.1655} = 1.331 · 0.84746986, 0.9 · e^{0.05} = 0.94614399; φ⁻ = e^{2 − 1.62} = 1.46228459
    expected = (6 * 1.331 * 0.84746986 - 4 * 1.46228459 + 1.25 * 0.94614399) / 8
    assert vespo.loss == pytest.approx(expected, abs=1e-7)


def test_low_and_high_bounds_are_not_swapped() -> None:
    # Seen to fail with: clip_low given as clip_high and the other way round.
    # bounds 0.6 and 2.1: −2, −1, −0.6655 | 1.2 (clipped), 3.24 | −0.45: −3.6655/9 + 4.44/6 − 0.15
    worked = Worked(algorithm("grpo", beta=0.0, clip_low=0.4, clip_high=1.1))
    assert worked.loss == pytest.approx(-3.6655 / 9 + 4.44 / 6 - 0.15, abs=1e-14)
    assert worked.outputs.clipped_low_B_T.tolist() == [[False] * 3, [True, False, False], [False] * 3]
    assert not worked.outputs.clipped_high_B_T.any()


def test_delta_is_read() -> None:
    # Seen to fail with: clip_delta not handed on.
    # δ = 1.5 holds the second token of row 1 (ρ = 1.62) at 3: −2.8655/9 + 4.6/6 − 0.15, flat
    worked = Worked(algorithm("grpo", beta=0.0, clip_delta=1.5))
    assert worked.loss == pytest.approx(-2.8655 / 9 + 4.6 / 6 - 0.15, abs=1e-14)
    assert worked.gradient[1].tolist() == [0.0, 0.0, 0.0]
    assert worked.outputs.clipped_high_B_T[1].tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("aggregation", "policy", "kl"),
    [
        # sums of the token losses: −2.8655 | 4.84 | −0.45; of k3: 0.5 | 0.38629436 | 0.30685282, 1.19314718 in all
        ("token_mean", 1.5245 / 8, 1.19314718 / 8),
        ("token_mean_minibatch", 1.5245 / 6, 1.19314718 / 6),
        ("constant", 1.5245 / 30, 1.19314718 / 30),
        ("sequence_sum", 1.5245 / 3, 1.19314718 / 3),
        ("answer_sum", -2.8655 / 3 + 4.84 / 2 - 0.45, 1.19314718),
    ],
)
def test_other_aggregations(aggregation: str, policy: float, kl: float) -> None:
    # Seen to fail with: the policy term's weights used for KL.
    outputs = Worked(algorithm("grpo", beta=0.5, aggregation=aggregation)).outputs
    assert outputs.policy_loss.item() == pytest.approx(policy, abs=1e-8)
    assert outputs.kl_loss.item() == pytest.approx(kl, abs=1e-8)
    assert outputs.loss.item() == pytest.approx(policy + 0.5 * kl, abs=1e-8)


@pytest.mark.parametrize(
    ("estimator", "kl", "gradient"),
    [
        # weights 1/9 | 1/6 | 1/3. k1 = u: 0 | 2 ln 2 | −ln 2; gradient 1
        ("k1", 2 * LN2 / 6 - LN2 / 3, [[1 / 9] * 3, [1 / 6, 1 / 6, 0.0], [1 / 3, 0.0, 0.0]]),
        # k2 = (ln 2)²/2 = 0.24022651: 2 | 2 | 1 of them; gradient u
        (
            "k2",
            0.24022651 * (2 / 9 + 2 / 6 + 1 / 3),
            [[LN2 / 9, 0.0, -LN2 / 9], [LN2 / 6, LN2 / 6, 0.0], [-LN2 / 3, 0.0, 0.0]],
        ),
        # ρ k3: 2 · 0.19314718 + 0.6655 · 0.30685282 | (0.5 + 1.62) · 0.19314718 | 0.9 · 0.30685282; gradient ρ u
        (
            "k3_ratio",
            0.59050491 / 9 + 0.40947202 / 6 + 0.27616754 / 3,
            [
                [2 * LN2 / 9, 0.0, -0.6655 * LN2 / 9],
                [0.5 * LN2 / 6, 1.62 * LN2 / 6, 0.0],
                [-0.9 * LN2 / 3, 0.0, 0.0],
            ],
        ),
    ],
)
def test_other_estimators(estimator: str, kl: float, gradient: list[list[float]]) -> None:
    # Seen to fail with: ρ detached in k3_ratio; k3 whatever the estimator.
    policy = Worked(algorithm("grpo", beta=0.0))
    worked = Worked(algorithm("grpo", beta=2.0, kl_estimator=estimator))
    assert worked.outputs.kl_loss.item() == pytest.approx(kl, abs=1e-8)
    assert worked.loss == pytest.approx(policy.loss + 2 * kl, abs=1e-8)
    torch.testing.assert_close((worked.gradient - policy.gradient) / 2, f64(gradient), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ppo"])
def test_the_advantage_that_goes_with_each_name(name: str) -> None:
    # Seen to fail with: dr_grpo's advantage zscore.
    config = algorithm(name)
    kind = {
        "grpo_basic": "mean",
        "dr_grpo": "mean",
        "trpo": "mean",
        "rloo": "leave_one_out",
        "reinforce": "ema",
    }
    right, wrong = ONE_OF_FOUR[kind.get(name, "zscore")]
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=F64)
    actual = compute_advantages(config.advantage, rewards, baseline=0.5)
    torch.testing.assert_close(actual, f64([[right, wrong, wrong, wrong]]), rtol=0, atol=1e-12)
