"""Unmodified Node programs under Node's own primary, and under ours."""
