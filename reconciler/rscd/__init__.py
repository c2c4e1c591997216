"""The RSCD agent's three files: their language, who becomes whom by them, and what is wrong in them.  Pure."""
