"""What happened in a run, as frozen facts, and the one fold that turns them into what a screen may know."""
