"""The desired state: YAML files to documents, every part with the place it came from."""
