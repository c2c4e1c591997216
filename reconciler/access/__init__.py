"""Who can do what on a host: rights to paths, ways to become somebody else, and what a plan changes in that."""
