"""Messages, calls, credit and acknowledgements.

Runs in: both
"""

from __future__ import annotations

from typing import Any, Final

from ....wire._generated import Kind
from ..case import ACTIVE, OPEN, STOPPING, Aborts, Lives, case
from ..scene import Problem, Scene
from ..talk import frame

__all__: list[str] = []

SOMEBODY: Final = "db"
NOBODY: Final = "nobody"


@case("mail.spoofed", "AWP-MS-1", Aborts("spoofed_sender"), OPEN, forms=4)
async def spoofed(it: Scene) -> None:
    """Sends a message from another worker's actor, or from the primary."""
    worker = it.it.worker_id or 1
    sender = (0, (worker + 1) << 32, (1 << 64) - 1, 1)[it.form]
    await it.say(frame(Kind.TELL, [None, sender], "hi"))


@case("mail.spoofed-call", "AWP-MS-1", Aborts("spoofed_sender"), OPEN)
async def spoofed_call(it: Scene) -> None:
    """Calls another worker in the name of a third."""
    await it.say(frame(Kind.CALL, [SOMEBODY, 99_999 << 32], "hi", channel=1))


@case("mail.nobody", "AWP-MS-11", Lives(), OPEN, forms=3)
async def to_nobody(it: Scene) -> None:
    """Writes to names and ids that nobody ever had."""
    to: Any = (NOBODY, 999_999 << 32, "\n" * 1000)[it.form]
    await it.say(frame(Kind.TELL, [to], "hi"))
    await it.hear_error("no_such_actor")
    await it.say(frame(Kind.CALL, [to], "hi", channel=1))
    await it.hear_error("no_such_actor", channel=1)


@case("mail.relayed", "AWP-MS-10", Lives(), OPEN, needs=("innocent",), also=("AWP-CA-7",))
async def relayed(it: Scene) -> None:
    """Calls the innocent worker by its name: it answers as ever."""
    await it.say(frame(Kind.CALL, [SOMEBODY], ["echo", "hi"], channel=1))
    answer = await it.hear(Kind.REPLY, Kind.ERROR, channel=1)
    if answer.kind == Kind.ERROR:
        raise Problem(f"the innocent worker could not be called: {answer.payload}")


@case("mail.window", "AWP-FC-6", Aborts("flow_violation"), OPEN, also=("AWP-FC-1",))
async def window_overrun(it: Scene) -> None:
    """Sends twice as much as the window has, in one piece and without waiting for credit."""
    size = it.limit("max_frame") - 64
    data = frame(Kind.TELL, [None], bytes(min(size, it.limit("max_message") - 64)))
    await it.say(data * (2 * it.limit("window") // len(data) + 2))


@case("mail.small", "AWP-FC-1", Aborts("flow_violation"), OPEN)
async def small_overrun(it: Scene) -> None:
    """Sends ever so many messages of a few bytes, each of which costs 256."""
    await it.say(frame(Kind.TELL, [None], 1) * (4 * it.limit("window") // 256))


@case("mail.credit", "AWP-FC-6", Aborts("flow_violation"), OPEN, forms=2)
async def credit(it: Scene) -> None:
    """Gives back more credit than the primary has spent."""
    await it.say(frame(Kind.CREDIT, [((1 << 32) - 1, 1)[it.form]]))


@case("mail.ack", "AWP-MS-8", Aborts("protocol_error"), OPEN, forms=2)
async def ack(it: Scene) -> None:
    """Acknowledges messages that were never sent."""
    await it.say(frame(Kind.ACK, [(1, (1 << 64) - 1)[it.form]]))


@case("mail.ack-back", "AWP-MS-8", Lives(), needs=("tell",))
async def ack_backwards(it: Scene) -> None:
    """Acknowledges three messages, then says that it was one."""
    await it.told(3)
    await it.say(frame(Kind.ACK, [3]), frame(Kind.ACK, [1]), frame(Kind.ACK, [0]))


@case("mail.bounce", "AWP-MS-6", Aborts("protocol_error"), OPEN)
async def bounces_nothing(it: Scene) -> None:
    """Sends a message back that was never sent."""
    await it.say(frame(Kind.UNDELIVERABLE, [1], {"code": "no_such_actor"}))


@case("mail.bounce-zero", "AWP-MS-6", Aborts("protocol_error"), OPEN)
async def bounces_zero(it: Scene) -> None:
    """Sends message number 0 back: there is none."""
    await it.say(frame(Kind.UNDELIVERABLE, [0], {"code": "no_such_actor"}))


@case("mail.bounce-twice", "AWP-MS-6", Aborts("protocol_error"), needs=("tell",))
async def bounces_twice(it: Scene) -> None:
    """Sends the same message back for ever."""
    await it.told(1)
    await it.say(frame(Kind.UNDELIVERABLE, [1], {"code": "no_such_actor"}) * 5000)


@case("mail.too-large", "AWP-LG-3", Lives(), OPEN)
async def too_large(it: Scene) -> None:
    """Sends an envelope larger than max_meta."""
    meta = {"x-text": "x" * (it.limit("max_meta") + 1)}
    await it.say(frame(Kind.TELL, [None, None, None, meta], "hi"))
    await it.hear_error("too_large")


@case("mail.ttl", "AWP-FR-6", Lives(), OPEN, forms=4)
async def strange_ttl(it: Scene) -> None:
    """Calls with a ttl that is no time."""
    ttl: Any = (-1, float("inf"), "soon", 1e300)[it.form]
    meta = {"ttl": ttl}
    await it.say(frame(Kind.CALL, [None, None, None, meta], ["echo", 1], channel=1))
    await it.hear(Kind.ERROR, Kind.REPLY, channel=1)


# ---- calls -------------------------------------------------------------------------------------


@case("call.open", "AWP-CH-2", Aborts("protocol_error"), needs=("sleep",))
async def call_twice(it: Scene) -> None:
    """Calls on the channel of a call that has no answer yet."""
    await it.say(frame(Kind.CALL, [None], ["echo", 1], channel=1) * 2)


@case("call.many", "AWP-CA-3", Lives())
async def many_calls(it: Scene) -> None:
    """Calls more often than max_calls at once: each call gets an answer."""
    count = it.limit("max_calls") + 10
    channels = range(1, 2 * count, 2)
    room = it.limit("window") // 256
    if count > room:
        count, channels = room, range(1, 2 * room, 2)
    await it.say(*(frame(Kind.CALL, [NOBODY], 1, channel=channel) for channel in channels))
    for _ in channels:
        await it.hear(Kind.ERROR, Kind.REPLY)


@case("call.cancel", "AWP-CA-1", Lives(), OPEN)
async def cancelled(it: Scene) -> None:
    """Cancels a call at once, twice, and again after its answer."""
    cancel = frame(Kind.CANCEL, [1], channel=1)
    await it.say(frame(Kind.CALL, [None], ["echo", 1], channel=1), cancel, cancel)
    await it.hear(Kind.ERROR, Kind.REPLY, channel=1)
    await it.say(cancel)


@case("call.reply-twice", "AWP-CH-3", Lives(), needs=("ask",), also=("AWP-CA-1",))
async def reply_twice(it: Scene) -> None:
    """Answers a call twice: the first answer counts."""
    channel = await it.asked()
    first, second = (frame(Kind.REPLY, None, text, channel=channel) for text in ("one", "two"))
    await it.say(first, second, frame(Kind.ERROR, None, {"code": "app"}, channel=channel))
    said = (await it.hear(Kind.TELL)).payload
    if said != ["asked", [True, "one"]]:
        raise Problem(f"the asker was told {said}")


@case("call.reply-both", "AWP-CA-1", Lives(), needs=("ask",))
async def reply_and_error(it: Scene) -> None:
    """Answers a call with ERROR, then with REPLY."""
    channel = await it.asked()
    error = frame(Kind.ERROR, None, {"code": "app", "message": "no"}, channel=channel)
    await it.say(error, frame(Kind.REPLY, None, "late", channel=channel))
    said = (await it.hear(Kind.TELL)).payload
    if said[1][0] is not False:
        raise Problem(f"the asker was told {said}")


@case("call.never-answers", "AWP-CA-6", Lives(), needs=("ask",), also=("AWP-CA-2",))
async def never_answers(it: Scene) -> None:
    """Owes an answer to the end."""
    await it.asked()


@case("call.broken-reply", "AWP-FR-6", Lives(), needs=("ask",), forms=3)
async def broken_reply(it: Scene) -> None:
    """Answers a call with a body that cannot be read: the call fails."""
    channel = await it.asked()
    frames = (
        frame(Kind.REPLY, channel=channel, body=b"\xc0\xc1"),
        frame(Kind.REPLY, channel=channel, body=b"\x92\xc0\x07\xa2hi"),
        frame(Kind.ERROR, None, "no map", channel=channel),
    )
    await it.say(frames[it.form])
    said = (await it.hear(Kind.TELL)).payload
    if said[1][0] is not False:
        raise Problem(f"the asker was told {said}")


@case("call.error-map", "AWP-EV-3", Lives(), needs=("ask",), forms=4)
async def strange_error(it: Scene) -> None:
    """Fails a call with strange error maps: unknown codes, wrong types, causes of causes."""
    channel = await it.asked()
    deep: dict[str, Any] = {"code": "app"}
    for _ in range(20):
        deep = {"code": "app", "cause": deep, "path": [1, 2]}
    errors: tuple[Any, ...] = (
        {"code": "com.example.new"},
        {"code": 7, "message": []},
        deep,
        {"code": "app", "remote": {"type": "os.system", "stack": "x" * 10_000}},
    )
    await it.say(frame(Kind.ERROR, None, errors[it.form], channel=channel))
    said = (await it.hear(Kind.TELL)).payload
    if said[1][0] is not False:
        raise Problem(f"the asker was told {said}")


@case("call.unimplemented", "AWP-EV-5", Lives(), needs=("ask",))
async def unimplemented(it: Scene) -> None:
    """Says UNIMPLEMENTED to a call, and then answers it."""
    channel = await it.asked()
    no = frame(Kind.UNIMPLEMENTED, [Kind.CALL], channel=channel)
    await it.say(no, frame(Kind.REPLY, None, "late", channel=channel))
    said = (await it.hear(Kind.TELL)).payload
    if said[1][0] is not False:
        raise Problem(f"the asker was told {said}")


@case("call.find", "AWP-MS-13", Lives(), OPEN, forms=2)
async def find(it: Scene) -> None:
    """Asks who somebody is, and who nobody is."""
    meta = [None, None, {"find": True}]
    await it.say(frame(Kind.CALL, [(SOMEBODY, NOBODY)[it.form], *meta], None, channel=1))
    answer = await it.hear(Kind.REPLY, Kind.ERROR, channel=1)
    if (answer.kind == Kind.REPLY) is bool(it.form):
        raise Problem(f"the answer is {answer.payload}")


# ---- settings ----------------------------------------------------------------------------------


@case("settings.ack", "AWP-SE-1", Aborts("protocol_error"), OPEN)
async def ack_of_nothing(it: Scene) -> None:
    """Acknowledges SETTINGS that the primary never sent."""
    await it.say(frame(Kind.SETTINGS_ACK))


@case("settings.limits", "AWP-SE-2", Lives(), OPEN, needs=("tell",))
async def limits_up_and_down(it: Scene) -> None:
    """Changes its window up and down a hundred times: each is acknowledged."""
    for number in range(100):
        window = 65536 << (number % 5)
        await it.say(frame(Kind.SETTINGS, None, {"limits": {"window": window}, "x-key": number}))
        await it.hear(Kind.SETTINGS_ACK)


@case("settings.tiny", "AWP-LM-1", Lives(), (ACTIVE,), needs=("tell",))
async def tiny_frames(it: Scene) -> None:
    """Announces a max_frame of 1 and is sent large messages: it counts as the floor."""
    await it.say(frame(Kind.SETTINGS, None, {"limits": {"max_frame": 1}}))
    answer = await it.hear(Kind.SETTINGS_ACK, Kind.ABORT)
    if answer.kind == Kind.ABORT:
        it.is_over = True
        return
    await it.told(2, "x" * 40_000)


@case("settings.primary-only", "AWP-SE-1", Lives(), OPEN)
async def primary_only(it: Scene) -> None:
    """Says in SETTINGS what only a primary says: it is ignored."""
    said = {"heartbeat": "never", "config": [1], "log_level": None}
    await it.say(frame(Kind.SETTINGS, None, {"config": {"a": 1}, "heartbeat": 0}))
    await it.hear(Kind.SETTINGS_ACK)
    await it.say(frame(Kind.PING, None, said))
    await it.hear(Kind.PONG)


# ---- liveness ----------------------------------------------------------------------------------


@case("ping.body", "AWP-PI-1", Lives(), OPEN, forms=5)
async def ping_body(it: Scene) -> None:
    """Sends PING with a body that nobody can read, or none: it comes back byte for byte."""
    bodies = (b"", b"\xa2\xff\xfe\x81\x01\x02", bytes(16_000), b"\xc1\xff", b"\xdd\xff\xff\xff\xff")
    body = bodies[it.form]
    await it.say(frame(Kind.PING, channel=7, body=body))
    answer = await it.hear(Kind.PONG, channel=7)
    if answer.body != body:
        raise Problem(f"PONG has {answer.body[:40]!r} of {len(answer.body)} bytes")


@case("ping.pong", "AWP-PI-2", Lives(), ("STARTING", *OPEN))
async def pong_unasked(it: Scene) -> None:
    """Sends PONGs that nobody asked for, with strange bodies."""
    await it.say(*(frame(Kind.PONG, body=body) for body in (b"", b"\xc1\xff", bytes(9000))))


# ---- monitors ----------------------------------------------------------------------------------


@case("monitor.twice", "AWP-SU-2", Aborts("protocol_error"), OPEN)
async def monitor_twice(it: Scene) -> None:
    """Gives a monitor a number that is open."""
    await it.say(frame(Kind.MONITOR, [1, SOMEBODY]) * 2)


@case("monitor.taken-back", "AWP-SU-1", Lives(), OPEN)
async def monitor_taken_back(it: Scene) -> None:
    """Ends the monitor of somebody who never was, in the same write."""
    await it.say(frame(Kind.MONITOR, [1, "nobody"]), frame(Kind.DEMONITOR, [1]))


@case("monitor.many", "AWP-SU-4", Aborts("limit_exceeded"), OPEN)
async def monitors(it: Scene) -> None:
    """Has more monitors than max_monitors."""
    count = it.limit("max_monitors") + 1
    await it.say(*(frame(Kind.MONITOR, [n, SOMEBODY]) for n in range(count)))


@case("monitor.nobody", "AWP-SU-1", Lives(), OPEN)
async def monitor_nobody(it: Scene) -> None:
    """Monitors nobody: that is answered at once."""
    await it.say(frame(Kind.MONITOR, [7, NOBODY]))
    answer = await it.hear(Kind.DOWN)
    if answer.elements[:2] != [7, None]:
        raise Problem(f"DOWN says {answer.elements}")


@case("monitor.demonitor", "AWP-SU-3", Lives(), OPEN)
async def demonitor_unknown(it: Scene) -> None:
    """Takes monitors back that never were."""
    await it.say(*(frame(Kind.DEMONITOR, [n]) for n in range(100)))


# ---- told to stop ------------------------------------------------------------------------------


@case("mail.while-stopping", "AWP-ST-1", Lives(), (STOPPING,))
async def mail_while_stopping(it: Scene) -> None:
    """Goes on sending messages after STOP, as it may."""
    await it.say(frame(Kind.TELL, [None], "hi") * 100)
    await it.say(frame(Kind.CALL, [None], ["echo", 1], channel=1))
    await it.hear(Kind.REPLY, Kind.ERROR, channel=1)
