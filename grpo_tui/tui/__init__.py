"""The Textual app. The only place that imports textual; it knows RunState, never a model."""
