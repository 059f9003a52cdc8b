"""What is measured: one program for each side, each with a primary and what it starts.

A program takes ``name=value`` arguments and prints one JSON line with what it counted. Those that
serve print a line with their address first, and go on until their standard input is closed.
"""
