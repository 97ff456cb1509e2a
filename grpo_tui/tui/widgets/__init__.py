"""Small building blocks: a line view, charts and strips. They know text and numbers, not runs."""
