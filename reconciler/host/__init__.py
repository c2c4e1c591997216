"""The port through which anything touches a machine, and the machines behind it."""
