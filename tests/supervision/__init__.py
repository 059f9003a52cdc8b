"""Supervision: who is restarted, when, and with whom."""
