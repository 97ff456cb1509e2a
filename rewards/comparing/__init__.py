"""Gold and answer: when two values are one answer, and what kind of slip lies between them."""
