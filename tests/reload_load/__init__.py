"""Workers replaced under load, again and again: nobody notices, and the new code is there.

``python -m tests.reload_load --reloads 50 --kills 200 --seed 1``. Clients in a process of their own
connect again and again, each time with another id, as in `tests.chaos`; the answer says which
release of the service gave it. Half of the run is without preloading, half with; each half has
three parts:

1. *Reloads alone.* A new release is written to disk and `Primary.reload` called. No connection
   fails; who connects after a reload has returned is answered by that release.
2. *Broken releases*: a syntax error, an exception at import, never ready, exits at once, hangs.
   Each reload is aborted, no connection fails, the last good release answers.
3. *Reloads and kills*: workers are killed by SIGKILL at random, also those that start or drain.
   What fails then is accounted for as in `tests.chaos`.

A connection that failed is counted by how far it had come:

* S0 in the backlog of the kernel, S1 accepted by the primary, S2 given to a worker that has not
  acknowledged it: none may fail, whatever happens;
* S3 acknowledged, its id not written down: at most one for each kill, and that worker's;
* S4 its id written down: as many as killed workers had open.

Fewer than 200 answers in any whole second make the run void: nothing was tried then.
"""
