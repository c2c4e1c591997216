"""The RSCD agent: its language, who becomes whom, and the kind that edits its files."""
