"""Cases.

Runs in: both
"""
