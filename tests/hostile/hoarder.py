"""A worker that fills its primary with descriptors: ``python -m tests.hostile.hoarder HOW``.

It says ``done`` on its standard output when the primary has read it all, and lives on.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator

import msgpack

from tests.hostile.speech import CALL, PING, TELL, Speaker, frame

PONG = 7
FRAG, MORE = 2, 1
KIND = "pipe-read"
MESSAGES = 300
HANDLES = 20

#: Whom the message is for; the first three are the primary itself.
TO = {
    "tell": None,
    "call": None,
    "unfinished": None,
    "to_task": "idle",
    "to_late": "late",
    "to_deaf": "deaf",
}


#: A body with all of them, else they would not be passed on: handle extensions.
BODY = [msgpack.ExtType(1, bytes([index])) for index in range(HANDLES)]


def _frames(how: str) -> Iterator[bytes]:
    envelope = [TO[how], None, [[8, {}]] * HANDLES]
    for channel in itertools.count(1, 2):
        if how == "call":
            yield frame(CALL, envelope, BODY, channel=channel, nfds=HANDLES)
        elif how == "unfinished":
            flags = FRAG | MORE
            yield frame(TELL, envelope, b"\xa2", channel=channel, flags=flags, nfds=HANDLES)
        else:
            yield frame(TELL, envelope, BODY, nfds=HANDLES)


def main() -> None:
    how = sys.argv[1]
    speaker = Speaker()
    if how == "deaf":  # it takes handles, and never says that they have arrived
        limits = {"max_fds": HANDLES, "fds_in_flight": 1 << 20}
        speaker.about = {"handles": [KIND], "limits": limits}
    speaker.reach("active")
    fds = [os.pipe()[0]] * HANDLES
    if how == "half":
        data = frame(TELL, [None, None, [[8, {}]] * HANDLES], "hi", nfds=HANDLES)
        speaker.say_with(data[:-1], fds)
    elif how in TO:
        for data in itertools.islice(_frames(how), MESSAGES):
            speaker.say_with(data, fds)
        speaker.say(frame(PING))
        speaker.hear(PONG)
    speaker.tell_test("done")
    speaker.lie_low()


if __name__ == "__main__":
    main()
