"""The wire protocol, pure: bytes and descriptors in, events out.

Runs in: both
"""
