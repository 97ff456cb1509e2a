"""Several algorithms from one start, on equal tokens: plan, run as processes, read their run files, tell. No torch here."""
