"""Our supervision beside Erlang's own: random trees, random deaths, and both logs compared.

A scenario is a tree and a script, made from a seed. `otp.escript` runs it with the module
``supervisor`` of Erlang/OTP, `model` with our plan in virtual time. Both give one log of events,
in the same words, divided by the steps of the script::

    start NAME              a child is to start; a supervisor is nothing but its children
    fail NAME               the start failed
    exit NAME REASON        it ended by itself: the script wanted it
    failed NAME REASON      its supervisor takes that for a failure
    gave-up NAME            a supervisor has seen too many
    stop NAME REASON        its supervisor ended it, and so it died
    up NAME                 a supervisor has started its children
    down NAME REASON        a supervisor has ended; ``failed``: its first start did
    reply WORD              what somebody who asked for something by hand was told

The logs have to be equal, but for what `differences` lists. Run many more seeds than the tests do::

    python -m tests.differential_otp --seeds 5000
"""
