"""A program that never says HELLO."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.pause()
