"""Plain notation to typed values: tokens, the grammar of expressions, structures, matrices."""
