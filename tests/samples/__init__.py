"""Workers in other languages: examples/workers, built, tested and set to work."""
