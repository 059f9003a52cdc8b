"""What goes over the workers' connections, written down, read again, and played again.

Runs in: both

A primary without a trace imports nothing of this. The format is docs/reference/trace.md.
"""
