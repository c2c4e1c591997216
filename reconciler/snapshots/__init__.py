"""A host as a file: captured without its secrets, and planned for elsewhere."""
