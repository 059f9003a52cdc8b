"""Faults in what writes a trace: what is in the file, whose it is, how long it becomes."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]


def _in(file: str, id: str, old: str, new: str, test: str) -> Mutant:  # noqa: A002  (as the field is called)
    return Mutant(id, f"{file}.py", old, new, f"tests/trace/{test}")


MUTANTS = [
    # ---- the bytes ----
    _in(
        "trace/tracefile",
        "cut-record-is-a-fault",
        "        if end > len(data):\n            return\n",
        "",
        "test_tracefile.py::test_each_prefix_of_a_file",
    ),
    _in(
        "trace/tracefile",
        "cut-record-is-one",
        "if zlib.crc32(body) != checksum:",
        "if False:",
        "test_tracefile.py::test_a_wrong_byte_is_noticed_and_what_is_before_it_is_read",
    ),
    _in(
        "trace/tracefile",
        "any-length-goes",
        "if size > _LONGEST:",
        "if False:",
        "test_tracefile.py::test_a_length_that_no_record_has",
    ),
    _in(
        "trace/tracefile",
        "later-types-are-faults",
        "            return Other(time=time, type=code, fields=tuple(rest))\n",
        "            raise ValueError(code)\n",
        "test_tracefile.py::test_every_record_is_read_as_it_was_written",
    ),
    _in(
        "trace/tracefile",
        "any-version-goes",
        "data[len(_NAME)] != MAJOR",
        "data[len(_NAME)] < MAJOR",
        "test_tracefile.py::test_what_is_none",
    ),
    # ---- frames and descriptors ----
    _in(
        "trace/tap",
        "body-of-the-frame-before",
        "                self._body.clear()\n",
        "",
        "test_tap.py::test_frames_are_found_in_any_pieces",
    ),
    _in(
        "trace/tap",
        "descriptors-with-the-next-frame",
        "waiting.popleft() if header[_NFDS] and waiting",
        "waiting.popleft() if waiting",
        "test_tap.py::test_descriptors_go_with_the_frames_that_declare_them",
    ),
    _in(
        "trace/tap",
        "no-frames-are-in-it",
        "                    self._is_broken = True\n",
        "",
        "test_tap.py::test_what_is_no_frame_is_not_in_it",
    ),
    _in(
        "trace/tap",
        "flag-of-the-lane-missing",
        "if self._lane and direction == TO_WORKER and header[_NFDS]:",
        "if False:",
        "test_lanes.py::test_frames_to_the_worker_have_the_flag_as_on_the_wire",
    ),
    _in(
        "trace/lanes",
        "answer-to-oneself",
        "asked = self._unanswered[TO_WORKER if direction == FROM_WORKER else FROM_WORKER]",
        "asked = self._unanswered[direction]",
        "test_lanes.py::test_answers_have_the_number_of_what_they_answer",
    ),
    _in(
        "trace/lanes",
        "lines-without-end",
        "if len(rest) > _LONGEST:",
        "if False:",
        "test_lanes.py::test_what_is_no_line_ends_that_direction",
    ),
    _in(
        "trace/carrier",
        "wrong-direction",
        "tap.pass_on(TO_WORKER, buffers, groups)",
        "tap.pass_on(FROM_WORKER, buffers, groups)",
        "test_primary.py::test_a_life",
    ),
    _in(
        "trace/carrier",
        "lane-not-heard",
        "self._tell(lambda tap: tap.pass_on(FROM_WORKER, (data,), looked))",
        "pass",
        "test_lanes.py::test_a_worker_with_a_lane",
    ),
    # ---- secrets ----
    _in(
        "trace/masks",
        "token-shown",
        'Kind.HELLO: frozenset({"token", "ext"}),',
        'Kind.HELLO: frozenset({"ext"}),',
        "test_tap.py::test_secrets_are_never_in_it",
    ),
    _in(
        "trace/masks",
        "keys-asked-for-shown",
        'Kind.LISTEN: frozenset({"data"}),',
        "Kind.LISTEN: frozenset(),",
        "test_tap.py::test_secrets_are_never_in_it",
    ),
    _in(
        "trace/masks",
        "keys-answered-shown",
        'Kind.LISTENING: frozenset({"data"}),',
        "Kind.LISTENING: frozenset(),",
        "test_tap.py::test_secrets_are_never_in_it",
    ),
    _in(
        "trace/masks",
        "later-keys-shown",
        "is_in = (lambda key: key not in _SECRET.get(kind, ())) if bodies else",
        "is_in = (lambda key: key not in _SECRET.get(kind, ())) if kind else",
        "test_tap.py::test_what_is_the_applications_is_in_it_with_bodies_only",
    ),
    _in(
        "trace/masks",
        "bodies-shown",
        "is_in = is_whole and (bodies or payload == _NIL)",
        "is_in = is_whole",
        "test_tap.py::test_what_is_the_applications_is_in_it_with_bodies_only",
    ),
    _in(
        "trace/masks",
        "heads-shown",
        'meta.pop("head", None)',
        'meta.get("head", None)',
        "test_tap.py::test_heads_of_handles_are_bodies",
    ),
    _in(
        "trace/recorder",
        "bodies-though-nobody-asked",
        "note, now, bodies=self._bodies,",
        "note, now, bodies=True,",
        "test_primary.py::test_a_life",
    ),
    _in(
        "adapters/node_session",
        "keys-by-another-name",
        "request = query.request()",
        'request = {**query.request(), "name": str(query.data)}',
        "test_node.py::test_the_keys_of_tickets_are_in_no_trace_and_no_log",
    ),
    _in(
        "adapters/node_ipc",
        "lines-logged",
        "            self._todo.extend(session.receive(data, fds, truncated))\n",
        "            log.debug('heard %s', bytes(data))\n"
        "            self._todo.extend(session.receive(data, fds, truncated))\n",
        "test_node.py::test_the_keys_of_tickets_are_in_no_trace_and_no_log",
    ),
    # ---- the files ----
    _in(
        "trace/store",
        "mode-of-others",
        "_MODE: Final = 0o600",
        "_MODE: Final = 0o640",
        "test_primary.py::test_a_life",
    ),
    _in(
        "trace/store",
        "bound-of-each-file",
        "self._most = size // 2",
        "self._most = size",
        "test_store.py::test_the_two_files_stay_within_their_bound",
    ),
    _in(
        "trace/store",
        "no-room-for-the-end",
        "> self._most - _END_ROOM",
        "> self._most",
        "test_store.py::test_the_two_files_stay_within_their_bound",
    ),
    _in(
        "trace/store",
        "parts-not-numbered",
        "self.part += 1",
        "self.part = 1",
        "test_store.py::test_the_two_files_stay_within_their_bound",
    ),
    _in(
        "trace/store",
        "any-file-moved-away",
        "if not is_trace(os.read(fd, len(OPENING))):",
        "if False:",
        "test_store.py::test_what_is_there_already_is_left_alone",
    ),
    _in(
        "trace/store",
        "links-followed",
        "        _check(path, os.lstat(path))\n",
        "        os.lstat(path)\n",
        "test_store.py::test_what_is_there_already_is_left_alone",
    ),
    _in(
        "trace/store",
        "written-by-two",
        "return True\n    except OSError:  # not every",
        "return False\n    except OSError:  # not every",
        "test_store.py::test_what_another_writes_is_left_alone",
    ),
    _in(
        "trace/store",
        "half-a-record-left",
        "os.ftruncate(self._fd, self.written)",
        "pass",
        "test_store.py::test_an_error_ends_the_trace_and_nothing_else",
    ),
    # ---- the primary ----
    _in(
        "trace/recorder",
        "time-goes-back",
        "return (time.monotonic_ns() - self._zero) // 1000",
        "return (self._zero - time.monotonic_ns()) // 1000 + 10**12",
        "test_primary.py::test_a_life",
    ),
    _in(
        "trace/recorder",
        "nobody-lives",
        "lives.append((worker, pid, name))",
        "pass",
        "test_store.py::test_a_small_trace_of_a_long_talk",
    ),
    _in(
        "trace/recorder",
        "logged-at-every-frame",
        "return\n        self._is_over = True\n        self._store.close()\n        log",
        "return\n        self._store.close()\n        log",
        "test_store.py::test_an_error_ends_the_trace_and_nothing_else",
    ),
    _in(
        "trace/recorder",
        "a-write-for-each-record",
        "        self._pending.append(record)\n\n    def _write",
        "        self._pending.append(record)\n        self._write()\n\n    def _write",
        "test_costs.py::test_one_that_is_off_costs_nothing_and_one_that_is_on_a_write_a_pass",
    ),
    _in(
        "_cluster/tracing",
        "on-though-nobody-asked",
        "    if wanted is None:\n        yield None\n        return\n",
        '    wanted = wanted or Wish(path="t", bodies=False, size=SMALLEST, is_asked=True)\n',
        "test_costs.py::test_one_that_is_off_costs_nothing_and_one_that_is_on_a_write_a_pass",
    ),
    _in(
        "_worker/start",
        "inherited-by-workers",
        '"LISTEN_FDNAMES", "ACTORCLUSTER_TRACE"}',
        '"LISTEN_FDNAMES"}',
        "test_primary.py::test_the_environment_names_one",
    ),
]
