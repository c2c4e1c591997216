"""Staying: events say where to look, then the same plan and the same engine run for what is concerned.

Everything here follows from levels, not from edges: an event that is lost costs time and nothing else, and one that
tells of our own writes leads to a look that finds nothing to do.
"""
