"""Who becomes whom through the RSCD agent: its mapping mode, and our lines in exports, users.local and users."""

from .kind import KIND as KIND
