"""The host, looked at and changed: survey plans, execute carries out."""
