"""Faults in what Node's rows are about: each is noticed by the test of the row that names it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]


def _row(row: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(
        f"{row}-{test.partition('::test_')[2]}", file, old, new, f"tests/node_parity/{test}"
    )


MUTANTS = [
    # ---- life cycle -----------------------------------------------------------------------------
    _row(
        "LC-01",
        "_cluster/seating.py",
        "        seat.forked(worker)\n",
        "        seat._worker = worker\n",
        "test_lifecycle.py::test_one_life",
    ),
    _row(
        "LC-05",
        "_worker/exit.py",
        "(waitstatus >> 8 & 0xFF, None)",
        "(waitstatus >> 8 & 0x1F, None)",
        "test_lifecycle.py::test_a_worker_that_exits",
    ),
    _row(
        "LC-07",
        "_worker/worker.py",
        "self._life.kill(signal_number(signal))",
        "self._life.kill(signals.SIGTERM)",
        "test_lifecycle.py::test_a_worker_that_is_killed",
    ),
    _row(
        "LC-09",
        "_worker/worker.py",
        'return self._life.state not in ("disconnected", "dead")',
        'return self._life.state != "dead"',
        "test_lifecycle.py::test_one_life",
    ),
    # ---- settings -------------------------------------------------------------------------------
    _row(
        "ST-03",
        "_worker/settings.py",
        "return attrs.evolve(self, **changes)",
        "return Settings(**changes)",
        "test_settings.py::test_setup",
    ),
    _row(
        "ST-04",
        "_cluster/forking.py",
        "        self._hub.emit(events.Setup(settings=self._settings))\n",
        "        if settings:\n            self._hub.emit(events.Setup(settings=self._settings))\n",
        "test_settings.py::test_setup",
    ),
    _row(
        "ST-07",
        "_worker/start.py",
        "cwd=settings.cwd,",
        "cwd=None,",
        "test_settings.py::test_directory_and_environment",
    ),
    _row(
        "ST-08",
        "_worker/start.py",
        "{**ours, **settings.env}",
        "{**settings.env, **ours}",
        "test_settings.py::test_directory_and_environment",
    ),
    _row(
        "ST-09",
        "_worker/start.py",
        'if wish == "pipe" and number >= STDIO:',
        'if wish == "pipe" and number > 15:',
        "test_streams.py::test_a_further_stream",
    ),
    _row(
        "ST-20",
        "_worker/streams.py",
        "RING: Final = 256 * 1024",
        "RING: Final = 64 * 1024",
        "test_streams.py::test_one_by_one",
    ),
    _row(
        "ST-21",
        "_worker/start.py",
        "return None, None if number < STDIO else _opened(number)",
        "return None, None if number < 1 else _opened(2)",
        "test_streams.py::test_in_a_word",
    ),
    _row(
        "ST-22",
        "_worker/streams.py",
        "self.dropped += excess",
        "self.dropped = excess",
        "test_streams.py::test_silent",
    ),
    # ---- messages, handles ----------------------------------------------------------------------
    _row(
        "MS-20",
        "_worker/bootstrap.py",
        "environ.pop(name, None) for name in IDENTITY",
        "environ.get(name) for name in IDENTITY",
        "test_messages.py::test_a_program_of_a_worker",
    ),
    _row(
        "HP-03",
        "_link/staging.py",
        "            self._end_holder()\n",
        "            pass\n",
        "test_handles.py::test_the_same_twice",
    ),
    _row(
        "X-17",
        "_link/staging.py",
        "Staged(_number(holder), keep_open, holder, head + rest, len(rest))",
        "Staged(_number(holder), keep_open, holder, head, len(rest))",
        "test_better.py::test_read_from_before",
    ),
    _row(
        "HP-22",
        "_cluster/binding.py",
        "name if isinstance(name, int) and name in numbers else None",
        "name if isinstance(name, int) else None",
        "test_handles.py::test_inherited_by_number",
    ),
    # ---- listening ------------------------------------------------------------------------------
    _row(
        "RR-02",
        "_worker/inet.py",
        "BACKLOG if backlog is None else backlog",
        "BACKLOG",
        "test_ports.py::test_the_backlog",
    ),
    _row(
        "RR-04",
        "_worker/inet.py",
        'v6only or host != "::"',
        'host != "::"',
        "test_ports.py::test_ipv6_alone",
    ),
    _row(
        "RR-05",
        "_worker/unixpath.py",
        "relative = os.path.relpath(path)",
        "relative = os.path.abspath(path)",
        "test_unix_paths.py::test_a_long_path",
    ),
    _row(
        "RR-06",
        "_worker/unixpath.py",
        "            _give_mode(path, file, mode)\n",
        "            pass\n",
        "test_unix_paths.py::test_for_everybody",
    ),
    _row(
        "RR-08",
        "_worker/listeners.py",
        '{"credit": min(CREDIT, max_connections), ',
        '{"credit": CREDIT, ',
        "test_limits.py::test_declining",
    ),
    _row(
        "RR-09",
        "_cluster/bounds.py",
        "        self.count += count\n",
        "",
        "test_limits.py::test_dropping",
    ),
    _row(
        "RR-19",
        "_cluster/ports.py",
        "if any(worker == client.id for worker, _ in port.users):",
        "if port.users is None:",
        "test_ports.py::test_the_same_port_twice",
    ),
    _row(
        "RR-22",
        "_worker/listening.py",
        "is_own = exclusive or reuse_port",
        "is_own = reuse_port",
        "test_ports.py::test_exclusive",
    ),
    _row(
        "RR-25",
        "_cluster/ports.py",
        "data=port.data,",
        "data=None,",
        "test_ports.py::test_data_of_a_listen_request",
    ),
    _row(
        "DG-01",
        "_cluster/ports.py",
        "modes = [mode for mode in modes if mode == MODES[SCHED_NONE]]",
        "modes = list(modes)",
        "test_datagrams.py::test_four_receive",
    ),
    _row(
        "DG-16",
        "_cluster/ports.py",
        "            port.identities.add(request.identity_of(int(bound.address[1])))\n",
        "            pass\n",
        "test_datagrams.py::test_port_zero_by_its_number",
    ),
    # ---- leaving, errors ------------------------------------------------------------------------
    _row(
        "DK-01",
        "_cluster/primary.py",
        "            await seat.life.dead.wait()\n        self._ports.close_unused()\n",
        "            pass\n",
        "test_leaving.py::test_everybody_leaves_and_again",
    ),
    _row(
        "DK-14",
        "_worker/listeners.py",
        "return all(one.is_idle() for one in [*self._listeners.values(), *self._others])",
        "return True",
        "test_leaving.py::test_when_its_clients_have_left",
    ),
    _row(
        "ER-01",
        "_worker/unixpath.py",
        "if not is_ours or _is_alive(fd, path):",
        "if not is_ours:",
        "test_errors.py::test_what_is_taken",
    ),
]
