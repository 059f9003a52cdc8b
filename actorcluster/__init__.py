"""Actors in worker processes, supervised by a primary, on Trio.

Runs in: both
"""
