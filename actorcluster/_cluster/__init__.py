"""Many workers: the primary, its events and its shared ports.

Runs in: primary
"""
