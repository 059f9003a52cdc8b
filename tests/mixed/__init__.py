"""Workers in all kinds of languages on one port and in one tree: fair, and nothing is lost.

``python -m tests.mixed --requests 1000 --kills 40 --reloads 40 --seed 1``. The workers are those of
`examples/mixed_cluster`. One run has these parts:

1. *Everybody serves.* A quarter of the requests; then the program that accepts for itself is
   stopped, and all requests are dealt. Both times those who are dealt to have the same number, to
   one.
2. *Reloads*, each child in turn, while clients in a process of their own connect again and again,
   each time with another id. No request fails. Each is replaced once at least, for the new lives
   have one connection open at a time.
3. *Kills*, each child in turn, by SIGKILL at a random moment, under the same load.
4. *A message for all* is answered by all who claim level 1 of the protocol.

Every program appends the path of a request, which is the id, to a log that all of them share, by
one ``write``, before anything else. What fails is counted by how far it had come, as in
`tests.reload_load`; with one connection open at a time at most one may fail for each kill, and it
must have been that worker's, as the primary recorded when the worker acknowledged it.

*Counted apart* are the connections of the program under ``actorcluster-run``. It takes them from
the shared socket itself, so the primary neither deals nor records them: who failed without having
been accepted by the primary must have been connected while that program was killed, one for each
kill.
"""
