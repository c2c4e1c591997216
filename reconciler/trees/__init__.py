"""Directory trees: what was in them, what is to be in them, and the passes that compare and change."""
