"""One worker: its process, its life, its mailbox, and the Actor inside it.

Runs in: both
"""
