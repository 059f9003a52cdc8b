"""Benchmarks of actorcluster against its peers, side by side in one run.

``python -m benchmarks`` runs everything; ``python -m benchmarks --help`` says what else there is.
Each side of each comparison is a short program of its own in `benchmarks/programs`, and can be
run by hand.
"""
