"""A worker of another make: says what the file named first says, a good worker's words if empty."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from tests.hostile.speech import HELLO, PING, TELL, Speaker, frame


def main() -> NoReturn:
    it = Speaker()
    match Path(sys.argv[1]).read_text():
        case "other version":
            it.say(frame(HELLO, None, {"versions": [[2, 0], [9, 1]]}))
        case "no version":
            it.say(frame(HELLO, None, {"versions": []}))
        case "other words":
            it.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        case "too early":
            it.say(frame(PING))
        case _:
            it.reach("active")
            it.hear(TELL)
            os._exit(3)
    it.lie_low()


if __name__ == "__main__":
    main()
