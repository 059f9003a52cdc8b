"""The hostile worker: a kit that finds out whether a primary outlives whatever a worker does.

Runs in: both
"""
