"""A git repository as the source of the desired state."""
