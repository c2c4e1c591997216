"""The event log: what was intended, what came of it, and proof that nobody changed the story since."""
