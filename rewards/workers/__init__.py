"""Worker processes that may hang, crash or eat memory without harm to their caller."""
