"""What follows from what, without a host, clock or file: holds, goals, plans, and the ledger that the log folds to."""
