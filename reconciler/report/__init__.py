"""Plans, results and history as text: pure functions of the data."""
