"""Hostile workers by chance: seeded, and each case can be played again alone.

Runs in: both
"""
