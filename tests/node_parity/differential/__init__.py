"""The same scenarios under Node's cluster and under actorcluster, and what everybody saw.

$ python -m tests.node_parity.differential [--seeds N] [--node PROGRAM]
$ python -m tests.node_parity.differential --steps 'fork 1; listen 1 tcp; hold a; kill 1 SIGKILL'

Two drivers, driver.js and driver.py, play a scenario in the same way: a primary, workers with
numbers, clients with letters. Each party writes down what it sees, a line of JSON for each event.
Observers are the primary in general, the primary about each worker, what it hears from each worker,
each worker, and each client; what one of them sees is compared in order. Between observers nothing
is, since no two processes agree on that twice.

The steps:

    setup VALUE       later workers have VALUE as their argument
    fork N [VALUE]    a worker; VALUE in its environment. Done when it says that it runs
    send N VALUE      to it; done when it has read that
    tell N VALUE      it sends VALUE to the primary
    listen N HOW      tcp (port 0, the same for all), exclusive, taken (somebody has the port), unix
    connect C         a client that is greeted; done when the server has closed
    hold C, drop C    a client that is greeted and stays; drop: it leaves
    pass C N          the primary accepts, and passes the connection on to a worker
    disconnect N      by the primary; done, like all that follow, when both ends of it are seen
    leave N, quit N   by itself: disconnect(), kill()
    kill N SIGNAL, exit N CODE, throw N
    disconnect_all    all of them
    look N            its state now

With ``&`` behind it a step is begun and not waited for. What may differ is in differences.toml.
"""
