"""The hostile worker, a program: ``python -m tests.hostile.worker STATE FAULT``.

It goes on as a good worker until it has reached the state, says so on its standard output, and
then commits the fault. What the primary is to survive ends like a good worker's life does; in all
other cases it lives on until somebody ends it.
"""

from __future__ import annotations

import signal
import sys

from tests.hostile.loads import FAULTS
from tests.hostile.replay import replay
from tests.hostile.speech import CALL, TELL, Speaker

#: Faults that are about what the primary has said while all was well.
ABOUT = {"reply twice": CALL, "never answers": CALL, "floods: UNDELIVERABLE": TELL}


def main() -> None:
    state, fault = sys.argv[1:]
    speaker = Speaker()
    commit = FAULTS.get(fault)
    if fault == "ignores STOP":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if fault in ABOUT and state in ("active", "stopping", "closing"):
        speaker.reach("active")
        speaker.tell_test("active")
        speaker.question = speaker.hear(ABOUT[fault])
        speaker.reach(state)
    else:
        speaker.reach(state)
        speaker.tell_test(state)
    if commit is None:
        replay(speaker, fault)
    else:
        commit(speaker)
    speaker.leave()


if __name__ == "__main__":
    main()
