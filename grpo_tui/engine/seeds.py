"""Seeds derived from the run's seed: the same on every machine and Python."""

from __future__ import annotations

import hashlib


def derived_seed(*parts: object) -> int:
    """A 63-bit seed from what it is for, e.g. ``derived_seed(run_seed, "update", step)``."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
