"""One thread for torch, set before anything imports it: tests share the machine, and numbers repeat."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
# No preferences of the developer's own: what a test starts, this process or another, finds none.
os.environ["XDG_CONFIG_HOME"] = "/nonexistent"

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# How long an example takes is the machine's affair: on a fresh clone the first text draws a table of all Unicode.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
