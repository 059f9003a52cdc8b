"""What somebody does by hand to a tree that runs, with real workers."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster import (
    Child,
    NoSuchActor,
    PeerClosed,
    Worker,
    WorkerStartError,
)
from tests.e2e import supervised_actors
from tests.e2e.supervised import (
    NEVER,
    Scene,
    comes,
    dies,
    mail,
    pool,
    puppet,
    run_tree,
    stops,
)

# ---- start_child ----------------------------------------------------------------------------


async def test_start_a_child() -> None:
    """Behind its siblings, ready when this returns, and supervised like them."""
    async with run_tree([puppet("a"), puppet("b")], strategy="rest_for_one") as scene:
        worker = await scene.primary.start_child(puppet("c"))
        assert worker is scene.worker("c")
        assert ["c", 1] == await scene.primary.ref("c").ask("who")
        assert {"a": "up", "b": "up", "c": "up"} == scene.states()
        await scene.ends("b")
        await scene.calm()
        await scene.ends("c")
        await scene.calm()
        assert 3 == scene.worker("c").incarnation
    assert [
        *[*comes("c"), *dies("b", "signal"), "restart b 1", *stops("c"), *comes("b", "c")],
        *[*dies("c", "signal"), "restart c 1", *comes("c"), *stops("c", "b", "a")],
    ] == scene.lines


async def test_start_a_child_further_below() -> None:
    async with run_tree([mail()]) as scene:
        worker = await scene.primary.start_child(puppet("pop"), "mail")
        assert worker is not None
        assert "mail.pop" == worker.name
        assert ["mail.smtp", "mail.imap", "mail.pop"] == list(scene.states())
    assert [*comes("mail.pop"), *stops("mail.pop", "mail.imap", "mail.smtp")] == scene.lines


async def test_start_more_than_a_child() -> None:
    """A whole supervisor, or a pool: all of it is up then."""
    async with run_tree([puppet("a")]) as scene:
        assert await scene.primary.start_child(mail(strategy="one_for_all")) is None
        assert await scene.primary.start_child(pool("web", 2), "mail") is None
        assert {
            "a": "up",
            "mail.smtp": "up",
            "mail.imap": "up",
            "mail.web.1": "up",
            "mail.web.2": "up",
        } == scene.states()
        await scene.ends("mail.smtp")
        await scene.calm()
        assert 2 == scene.worker("mail.web.2").incarnation


@pytest.mark.parametrize("spec", [None, "a", supervised_actors.puppet, {"name": "a"}])
async def test_start_what_is_no_child(spec: Any) -> None:
    async with run_tree() as scene:
        with pytest.raises(TypeError, match="a Child, a Pool or a Supervisor"):
            await scene.primary.start_child(spec)


async def test_start_a_child_that_never_can_be_started() -> None:
    """It is not kept."""
    wrong = mail(puppet("smtp"), Child("imap", "tests.e2e.nowhere:main"))
    async with run_tree() as scene:
        with pytest.raises(TypeError, match=r"^mail\.imap: "):
            await scene.primary.start_child(wrong)
        assert 0 == scene.primary.count_children().specs
        await scene.primary.start_child(mail())
    assert [*comes("mail.smtp", "mail.imap"), *stops("mail.imap", "mail.smtp")] == scene.lines


async def test_start_with_a_name_that_is_taken() -> None:
    """Whatever state the other is in; that one is left alone."""
    children = [puppet("a"), puppet("b"), puppet("c", restart="transient"), mail()]
    async with run_tree(children) as scene:
        await scene.primary.terminate_child("b")
        await scene.ends("c", "return")
        await scene.primary.fork(supervised_actors.puppet, name="forked")
        before = scene.states()
        for name in ("a", "b", "c", "mail", "forked"):
            with pytest.raises(ValueError, match=f"'{name}' is taken"):
                await scene.primary.start_child(puppet(name))
        with pytest.raises(ValueError, match=r"'mail\.smtp' is taken"):
            await scene.primary.start_child(puppet("smtp"), "mail")
        assert before == scene.states()


@pytest.mark.parametrize("under", ["nobody", "a", "web", "web.1", "root", "forks", ""])
async def test_start_under_what_is_no_supervisor(under: str) -> None:
    async with run_tree([puppet("a"), pool("web", 1)]) as scene:
        with pytest.raises(NoSuchActor):
            await scene.primary.start_child(puppet("x"), under)
        with pytest.raises(NoSuchActor):
            scene.primary.which_children(under=under)


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
async def test_start_a_child_that_fails(restart: str) -> None:
    """Not retried, not kept, and its siblings notice nothing."""
    children = [puppet("a"), puppet("b")]
    async with run_tree(children, strategy="one_for_all", max_restarts=0) as scene:
        with pytest.raises(WorkerStartError, match="c ended before it was ready: normal") as caught:
            await scene.primary.start_child(puppet("c", 1, restart=restart))
        assert caught.value.status is not None
        assert {"a": "up", "b": "up"} == scene.states()
        assert 2 == scene.primary.count_children().specs
        worker = await scene.primary.start_child(puppet("c", 1, restart=restart))
        assert worker is not None
        assert 2 == worker.incarnation
    assert [*comes("c"), *dies("c", "normal"), *comes("c"), *stops("c", "b", "a")] == scene.lines


async def test_start_a_child_that_is_never_ready() -> None:
    async with run_tree() as scene:
        with pytest.raises(WorkerStartError) as caught:
            await scene.primary.start_child(puppet("a", silent=[1], start_timeout=0.3))
        assert 0.3 == caught.value.timeout
        with pytest.raises(WorkerStartError, match=r"within 0\.3 seconds") as caught:
            await scene.primary.start_child(mail(puppet("x", silent=[1], start_timeout=0.3)))
        assert 0.3 == caught.value.timeout


async def test_start_a_supervisor_of_whom_one_fails() -> None:
    """Those before it are stopped first, and nothing is kept."""
    async with run_tree([puppet("a")], max_restarts=0) as scene:
        with pytest.raises(WorkerStartError, match=r"mail\.imap ended before it was ready"):
            await scene.primary.start_child(mail(puppet("smtp"), puppet("imap", 1)))
        assert {"a": "up"} == scene.states()
        assert ["a"] == [worker.name for worker in scene.primary.workers.values()]
        assert 1 == scene.primary.count_children().specs
    assert [
        *[*comes("mail.smtp", "mail.imap"), *dies("mail.imap", "normal"), *stops("mail.smtp")],
        *stops("a"),
    ] == scene.lines


async def test_a_sibling_fails_while_a_child_starts() -> None:
    """The strategy concerns it as the others; it is up when this returns."""
    started: list[Worker | None] = []

    async def start(scene: Scene) -> None:
        started.append(await scene.primary.start_child(puppet("c", silent=[1])))

    async with run_tree([puppet("a"), puppet("b")], strategy="one_for_all") as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start, scene)
            await scene.until("online c")
            await scene.ends("a")
        assert [scene.worker("c")] == started
        assert {"a": "up", "b": "up", "c": "up"} == scene.states()
        assert ["c", 2] == await scene.worker("c").ask("who")


async def test_a_child_ends_as_soon_as_it_is_up() -> None:
    """Whoever started it gets the life that was up."""
    child = Child("c", "tests.e2e.actors:returns", restart="temporary")
    async with run_tree() as scene:
        for number in range(1, 6):
            worker = await scene.primary.start_child(child)
            assert worker is not None
            assert number == worker.incarnation
            await worker.wait()


# ---- terminate_child ------------------------------------------------------------------------


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
async def test_terminate(restart: str) -> None:
    """Gone when this returns, never restarted; its place stays unless it is temporary."""
    children = [puppet("a"), puppet("b", restart=restart), puppet("c")]
    async with run_tree(children, strategy="one_for_all") as scene:
        worker = scene.worker("b")
        await scene.primary.terminate_child("b")
        assert worker.is_dead()
        assert {"a", "c"} == {one.name for one in scene.primary.workers.values()}
        if restart == "temporary":
            assert {"a": "up", "c": "up"} == scene.states()
            with pytest.raises(NoSuchActor):
                await scene.primary.terminate_child("b")
        else:
            assert {"a": "up", "b": "down", "c": "up"} == scene.states()
            await scene.primary.terminate_child("b")
        with pytest.raises(PeerClosed):
            await scene.primary.ref("b").send("hello")
    assert stops("b", "c", "a") == scene.lines


async def test_terminate_what_was_started_by_hand() -> None:
    async with run_tree() as scene:
        await scene.primary.start_child(puppet("kept"))
        await scene.primary.start_child(puppet("forgotten", restart="temporary"))
        for name in ("kept", "forgotten"):
            await scene.primary.terminate_child(name)
        assert {"kept": "down"} == scene.states()
        await scene.primary.start_child(puppet("forgotten"))
        await scene.primary.restart_child("kept")
        assert {"kept": "up", "forgotten": "up"} == scene.states()


async def test_terminate_twice_at_once() -> None:
    """The second call waits as the first; one may shorten nothing."""
    async with run_tree([puppet("a")]) as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.primary.terminate_child, "a")
            nursery.start_soon(scene.primary.terminate_child, "a")
        assert {"a": "down"} == scene.states()
    assert stops("a") == scene.lines


async def test_terminate_between_two_lives() -> None:
    """Down at once, and nothing is left to wait for."""
    async with run_tree([puppet("a", backoff=NEVER)]) as scene:
        await scene.ends("a")
        assert {"a": "waiting"} == scene.states()
        await scene.primary.terminate_child("a")
        assert {"a": "down"} == scene.states()
        await scene.primary.wait()


async def test_terminate_one_that_is_to_start_after_others() -> None:
    """Those behind it do not wait for it."""
    children = [puppet("a", backoff=NEVER), puppet("b"), puppet("c")]
    async with run_tree(children, strategy="rest_for_one") as scene:
        await scene.ends("a")
        await scene.until("exit b shutdown")
        assert {"a": "waiting", "b": "waiting", "c": "waiting"} == scene.states()
        await scene.primary.terminate_child("b")
        assert {"a": "waiting", "b": "down", "c": "waiting"} == scene.states()
        await scene.primary.restart_child("b")
        assert {"a": "waiting", "b": "up", "c": "waiting"} == scene.states()


async def test_terminate_while_it_starts() -> None:
    """Whoever started it hears of that."""
    outcomes: list[str] = []

    async def start(scene: Scene) -> None:
        try:
            await scene.primary.start_child(puppet("x", silent=[1]))
        except trio.ClosedResourceError as exc:
            outcomes.append(str(exc))

    async with run_tree() as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start, scene)
            await scene.until("online x")
            await scene.primary.terminate_child("x")
        assert ["x was stopped before it was up"] == outcomes
        assert 0 == scene.primary.count_children().specs
    assert [*comes("x"), *dies("x", "killed")] == scene.lines


@pytest.mark.parametrize("kind", ["supervisor", "pool"])
async def test_terminate_and_restart_many(kind: str) -> None:
    """All below, and all of them again."""
    many: Any = mail() if kind == "supervisor" else pool("mail", 2)
    names = ["mail.smtp", "mail.imap"] if kind == "supervisor" else ["mail.1", "mail.2"]
    async with run_tree([puppet("a"), many], strategy="one_for_all") as scene:
        await scene.primary.terminate_child("mail")
        assert {"a": "up", names[0]: "down", names[1]: "down"} == scene.states()
        for name in names:
            with pytest.raises(PeerClosed):
                await scene.primary.ref(name).ask("who")
            with pytest.raises(trio.ClosedResourceError, match="mail is down"):
                await scene.primary.restart_child(name)
        if kind == "supervisor":
            with pytest.raises(trio.ClosedResourceError, match="mail is down"):
                await scene.primary.start_child(puppet("x"), "mail")
        await scene.ends("a")
        await scene.calm()
        assert {"a": "up", names[0]: "down", names[1]: "down"} == scene.states()
        assert await scene.primary.restart_child("mail") is None
        assert {"a": "up", names[0]: "up", names[1]: "up"} == scene.states()
        assert [2, 2] == [scene.worker(name).incarnation for name in names]


# ---- restart_child --------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["terminated", "disconnected", "finished", "parked"])
async def test_restart(why: str) -> None:
    """Up when this returns; a new life of the same name, supervised as before."""
    children = [puppet("a"), puppet("b", restart="transient"), puppet("c")]
    async with run_tree(children) as scene:
        past = scene.worker("b")
        if why == "terminated":
            await scene.primary.terminate_child("b")
        elif why == "disconnected":
            await past.disconnect()
        else:
            await scene.ends("b", {"finished": "return", "parked": "garbage"}[why])
        worker = await scene.primary.restart_child("b")
        assert worker is not None
        assert (2, "b", 4) == (worker.incarnation, worker.name, worker.id)
        assert {"a": "up", "b": "up", "c": "up"} == scene.states()
        await scene.ends("b")
        await scene.calm()
        assert 3 == scene.worker("b").incarnation
        begin = len(scene.lines)
    assert stops("c", "b", "a") == scene.lines[begin:][-9:]


async def test_restart_what_is_not_down() -> None:
    """It is refused, and harms nobody."""
    children = [puppet("a"), puppet("b", backoff=NEVER), mail(), pool("web", 1)]
    async with run_tree(children) as scene:
        await scene.ends("b")
        before = scene.states()
        for name in ("a", "b", "mail", "mail.smtp", "web", "web.1"):
            with pytest.raises(ValueError, match=f"{name} is (up|waiting)"):
                await scene.primary.restart_child(name)
        assert before == scene.states()
        assert ["a", 1] == await scene.primary.ref("a").ask("who")
    assert [
        *[*dies("b", "signal"), "restart b 1"],
        *stops("web.1", "mail.imap", "mail.smtp", "a"),
    ] == scene.lines


async def test_restart_fails() -> None:
    """Its place stays, it is not retried, and it can be tried again."""
    async with run_tree([puppet("a"), puppet("b", 2)], max_restarts=0) as scene:
        await scene.primary.terminate_child("b")
        with pytest.raises(WorkerStartError, match="b ended before it was ready"):
            await scene.primary.restart_child("b")
        assert {"a": "up", "b": "down"} == scene.states()
        worker = await scene.primary.restart_child("b")
        assert worker is not None
        assert 3 == worker.incarnation
    assert [
        *[*stops("b"), *comes("b"), *dies("b", "normal"), *comes("b")],
        *stops("b", "a"),
    ] == scene.lines


async def test_restart_a_slot() -> None:
    async with run_tree([pool("web", 2)]) as scene:
        await scene.primary.terminate_child("web.1")
        assert {"web.1": "down", "web.2": "up"} == scene.states()
        assert ["web.2"] * 2 == [(await scene.primary.ref("web").ask("who"))[0] for _ in range(2)]
        await scene.primary.restart_child("web.1")
        names = {(await scene.primary.ref("web").ask("who"))[0] for _ in range(2)}
        assert {"web.1", "web.2"} == names


# ---- delete_child ---------------------------------------------------------------------------


async def test_delete() -> None:
    """Only what is down; then its name is free, and counts its lives on."""
    async with run_tree([puppet("a"), puppet("b")]) as scene:
        with pytest.raises(ValueError, match="b is up"):
            await scene.primary.delete_child("b")
        await scene.primary.terminate_child("b")
        await scene.primary.delete_child("b")
        assert {"a": "up"} == scene.states()
        for call in (
            scene.primary.delete_child,
            scene.primary.restart_child,
            scene.primary.terminate_child,
        ):
            with pytest.raises(NoSuchActor, match="'b'"):
                await call("b")
        with pytest.raises(PeerClosed):
            await scene.primary.ref("b").send("hello")
        worker = await scene.primary.start_child(puppet("b"))
        assert worker is not None
        assert 2 == worker.incarnation


async def test_delete_a_supervisor() -> None:
    """With all below."""
    async with run_tree([puppet("a"), mail(puppet("x"), puppet("y"))]) as scene:
        with pytest.raises(ValueError, match="mail is up"):
            await scene.primary.delete_child("mail")
        await scene.primary.terminate_child("mail")
        await scene.primary.delete_child("mail")
        assert 1 == scene.primary.count_children().specs
        with pytest.raises(NoSuchActor):
            scene.primary.which_children(under="mail")
        await scene.primary.start_child(mail())
        assert {"a": "up", "mail.smtp": "up", "mail.imap": "up"} == scene.states()


@pytest.mark.parametrize("name", ["nobody", "root", "forks", "primary", "", "a.b"])
async def test_nobody_of_that_name(name: str) -> None:
    async with run_tree([puppet("a")]) as scene:
        for call in (
            scene.primary.terminate_child,
            scene.primary.restart_child,
            scene.primary.delete_child,
        ):
            with pytest.raises(NoSuchActor):
                await call(name)
