"""How long idle OpenMP threads spin is settled before torch is loaded, unless the user has settled it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SAY = "import os, grpo_tui; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"
NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, "PASSIVE 20000"),
        ({"GOMP_SPINCOUNT": "7"}, "PASSIVE 7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "PASSIVE None"),
    ],
)
def test_a_moment_and_what_the_user_says_goes(told: dict[str, str], expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", SAY], env=environment | told, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected
