"""Messages and handles under everything that can happen to them.

The tests are short forms. The long ones are commands that print figures, for a quiet machine:

- ``python -m tests.hardened.large``: large messages both ways, and how long a PING waits
- ``python -m tests.hardened.asks 10000``: asks under kills, cancellations and closes
- ``python -m tests.hardened.flood 30``: a sender that is faster than its receiver
"""
