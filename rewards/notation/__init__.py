"""Notation: many ways to write one thing become one. Nothing is computed and no tree is built."""
