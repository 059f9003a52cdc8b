"""A program that never says HELLO; it writes its pid into a file."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(f"{os.getpid()}\n")
    signal.pause()
