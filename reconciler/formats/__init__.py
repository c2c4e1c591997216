"""The languages that are read and edited byte by byte: ini, YAML, modes, text."""
