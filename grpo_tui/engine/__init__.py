"""The GRPO loop: seven calls a step, stoppable between and inside them. Knows no screen.

problems ─▶ sample ─▶ score ─▶ advantages ─▶ reference ─▶ update ─▶ emit
   ▲           │         │          │            │           │        │
   └───────────┴─────────┴── Gate: pause, stop, step ────────┴────────┘
"""
