"""Programs that speak another protocol than ours as workers, and ours under other primaries.

Runs in: both
"""
