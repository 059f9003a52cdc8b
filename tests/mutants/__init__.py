"""Faults put into the package on purpose: the tests named beside them have to notice."""
