"""Where checkpoints come from: one file per kind of place, each a `Source`."""
