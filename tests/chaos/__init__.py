"""Workers killed at random under load: what may be lost, and what may not.

``python -m tests.chaos --seconds 20 --seed 1``. Clients in a process of their own connect again and
again and send a unique id. A worker accepts one connection at a time, reads the id, and before
anything else appends it to a log that all of them share, by one ``write`` with O_APPEND. All the
while workers are killed by SIGKILL, whatever they are doing, and replaced.

Of a worker that is killed, one connection at most can be lost: the one that its ``accept()`` had
returned and whose id it had not written down. All others it had were not its own yet, and go to
another worker. So:

* nobody is refused, and nobody waits longer than two seconds;
* no id is handled twice;
* per kill at most one client fails whose id is not in the log, and the primary had been told, by
  the acknowledgement of the worker that was killed, that this very connection was taken.

``--acknowledge receipt`` makes the workers acknowledge what arrives rather than what is accepted,
which loses connections: the check must then fail.
"""
