"""Proofs with sympy, in worker processes only: trees go in node by node, text never."""
