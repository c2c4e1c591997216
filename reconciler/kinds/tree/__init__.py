"""A directory tree: who owns what in it, and with which modes."""

from .kind import KIND as KIND
