"""A daemon: whom it runs as, whether it is enabled, whether it runs, and whether what runs is what is set."""

from .kind import KIND as KIND
