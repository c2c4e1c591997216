"""What the log tells of the past: moments, which line is to blame, what made something drift."""
