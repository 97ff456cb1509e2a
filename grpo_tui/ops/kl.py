"""Per-token estimators of KL(π_θ ‖ π_anchor) from the sampled token alone.

On ``u = ℓ − ℓ_anchor`` (Schulman, "Approximating KL Divergence", 2020):
k1 = u, k2 = u²/2, k3 = e^{−u} + u − 1, k3_ratio = ρ · k3.

As *values* k1 and k3 are unbiased under the policy. As *losses* they differ: the expected gradient of k1 is 0,
k2 and k3_ratio have the gradient of the reverse KL that is meant, and k3 put straight into the loss, as
DeepSeekMath does (arXiv 2402.03300, equation 4), has the gradient of the other direction. The tests show each
by exact enumeration.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def k1(u: Tensor) -> Tensor:
    """``u``: unbiased, of either sign."""
    return u


def k2(u: Tensor) -> Tensor:
    """``u² / 2``: never negative, biased as a value."""
    return 0.5 * u.square()


def k3(u: Tensor) -> Tensor:
    """``e^{−u} + u − 1``: unbiased and never negative."""
    # expm1 keeps the digits for the small u that training has; clamp holds the last bit at or above 0.
    return ((-u).expm1() + u).clamp(min=0.0)


ESTIMATORS: dict[str, Callable[[Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3, "k3_ratio": k3}


def kl_term(name: str, logprobs: Tensor, anchor_logprobs: Tensor, ratio: Tensor) -> Tensor:
    """The KL term of the loss for each token, by estimator name.

    Args:
        name: ``k1``, ``k2``, ``k3`` or ``k3_ratio``.
        logprobs: ℓ, with gradient.
        anchor_logprobs: ℓ of the anchor, without.
        ratio: ρ, with gradient; used by ``k3_ratio`` alone.
    """
    value = ESTIMATORS[name](logprobs - anchor_logprobs)
    return ratio * value if name == "k3_ratio" else value
