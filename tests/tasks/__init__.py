"""Actors that are tasks of the primary: the same as processes, as far as they can be."""
