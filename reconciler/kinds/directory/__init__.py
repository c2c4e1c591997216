"""One directory without what is in it: its owner, group and mode; its ACLs are kept."""

from .kind import KIND as KIND
