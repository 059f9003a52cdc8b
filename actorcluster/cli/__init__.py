"""The command line; it uses ``import actorcluster`` as any program would.

Runs in: both
"""
