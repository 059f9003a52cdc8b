"""Conversations of a real primary with a real worker, as they were recorded."""
