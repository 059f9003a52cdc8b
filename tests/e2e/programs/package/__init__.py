"""A package that can be run, and whose program imports relatively."""
