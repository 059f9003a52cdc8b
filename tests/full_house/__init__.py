"""All workers are full all the while, and clients queue up: what that costs.

``python -m tests.full_house --connections 20000 --workers 8 --limit 10 --open 1000 --hold 0.1``.
Clients in a process of their own keep so many connections open until they have had enough. Each
worker serves ``--limit`` of them at once (``max_connections``), each for ``--hold`` seconds. So the
rest waits in the kernel's queue, and the least time for all of it is
``connections / (workers * limit) * hold``: the *ideal*. Held against it:

* *failed*: connections refused, cut off or not served in time: none;
* *elapsed*: at most 1.15 times the ideal;
* *primary*: it uses 10 % of a core at most, though somebody always wants in;
* *hand-overs* to workers, those of connections dealt again included: 1.05 for each connection;
* *descriptors* of the primary, counted every 50 ms: at most as many as before, and what the
  workers may have, and the backlog.

The exit status is 1 if one of them is missed.
"""
