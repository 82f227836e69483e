"""Places on the disk for slides: never more than there are, and never a state in which nothing can go on."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import time
from pathlib import Path

import pytest

from chowder.data.download import caller, places
from chowder.data.download.places import Plan
from chowder.files import UserError


def finishable(plan: Plan, held: frozenset[str]) -> bool:
    """By trying everything: can the slides in ``held`` be used up, if a group leaves when all of it is there?"""
    groups = [frozenset(group) for group in plan.groups]
    seen, todo = set(), [held]
    while todo:
        state = todo.pop()
        if not state:
            return True
        if state in seen:
            continue
        seen.add(state)
        for group in groups:
            if group & state:
                if group <= state:
                    todo.append(state - group)
                missing = group - state
                if missing and (len(state) < plan.at_once or state <= group):
                    todo += [state | {slide} for slide in missing]
    return False


def test_a_state_is_safe_exactly_if_some_order_of_events_uses_every_slide_up():
    plans = [Plan(n, (("a", "b"), ("c",), ("d", "e", "f"), ("g", "h"))) for n in (1, 2, 3, 4)]
    both = 0
    for plan in plans:
        slides = list(plan.order)
        for size in range(len(slides) + 1):
            for held in itertools.combinations(slides, size):
                expected = finishable(plan, frozenset(held))
                both |= 1 << expected
                assert places.safe(plan, held) == expected, (plan, held)
    assert both == 3


def test_the_first_in_line_gets_the_place_unless_that_would_block_all():
    plan = Plan(2, (("a", "b"), ("c", "d")))
    assert places.next_one(plan, ["c", "b", "a"], set()) == "a"
    assert places.next_one(plan, ["d", "a"], {"c"}) == "d", "a would leave c waiting for d for ever"
    assert places.next_one(plan, ["c"], {"a"}) is None
    assert places.next_one(plan, ["c"], {"a", "b"}) is None


def test_a_group_above_the_places_is_let_in_alone_and_nothing_beside_it():
    plan = Plan(1, (("a",), ("b", "c", "d"), ("e",)))
    assert places.next_one(plan, ["b"], {"a"}) is None
    assert places.next_one(plan, ["b"], set()) == "b"
    assert places.next_one(plan, ["c", "e"], {"b"}) == "c"
    assert places.next_one(plan, ["e"], {"b", "c"}) is None


def test_what_an_earlier_run_left_does_not_block_this_one():
    plan = Plan(2, (("a", "b"), ("c", "d"), ("e", "f")))
    left = {"a", "c", "e"}  # at_once was higher
    assert not places.safe(plan, left)
    assert places.next_one(plan, ["b", "d", "f"], left) == "b"
    assert places.next_one(plan, ["d", "f"], left | {"b"}) is None, "a and b are used up first"
    assert places.next_one(plan, ["d", "f"], {"c", "e"}) == "d"


class Run:
    """A run in miniature: Snakemake starts fetches by priority, ``net`` at a time; embedding frees a whole group.

    Every choice that Snakemake or the machine makes is drawn: which job goes on, which fails and is tried again, which
    of two started fetches asks first, when the run is killed.
    """

    def __init__(self, plan: Plan, net: int, seed: int, encoders: int = 1, failing: float = 0.2, disk=()):
        self.plan, self.net, self.random, self.failing = plan, net, random.Random(seed), failing
        self.todo = [slide for slide in plan.order if slide not in disk]
        self.disk: set[str] = set(disk)
        self.started: dict[str, str] = {}
        self.embedded = {(group, encoder): False for group in plan.groups for encoder in range(encoders)}
        self.tissue: set[str] = set()
        self.peak = len(self.disk)

    def step(self) -> bool:
        """One event; False when there is none."""
        while self.todo and len(self.started) < self.net:
            self.started[self.todo.pop(0)] = "starts"
        held = self.disk | {slide for slide, state in self.started.items() if state == "held"}
        waiting = [slide for slide, state in self.started.items() if state == "waits"]
        events = [("ask", slide) for slide, state in self.started.items() if state == "starts"]
        if (first := places.next_one(self.plan, waiting, held)) is not None:
            events.append(("take", first))
        events += [("fetched", slide) for slide, state in self.started.items() if state == "held"]
        events += [("tissue", slide) for slide in self.disk - self.tissue]
        events += [("embed", key) for key, done in self.embedded.items() if not done and self.tissue.issuperset(key[0])
                   and self.disk.issuperset(key[0])]  # fmt: skip
        if not events:
            return False
        what, which = self.random.choice(sorted(events, key=str))
        fails = self.random.random() < self.failing
        if what == "ask":
            self.started[which] = "waits"
        elif what == "take":
            self.started[which] = "held"
        elif what == "fetched":
            del self.started[which]
            if fails:  # tried again: Snakemake puts it in front of the line
                self.todo.insert(0, which)
                self.todo.sort(key=self.plan.order.__getitem__)
            else:
                self.disk.add(which)
        elif what == "tissue" and not fails:
            self.tissue.add(which)
        elif what == "embed" and not fails:
            self.embedded[which] = True
            group = which[0]
            if all(done for (other, _), done in self.embedded.items() if other == group):
                self.disk -= set(group)
        self.peak = max(self.peak, len(self.disk | {s for s, state in self.started.items() if state == "held"}))
        return True

    def finish(self, limit: int = 100_000) -> None:
        for _ in range(limit):
            if not self.step():
                break
        assert all(self.embedded.values()), f"stuck with {self.disk} on the disk, {self.started}"
        assert not self.disk


def grouped(count: int, size: int) -> tuple[tuple[str, ...], ...]:
    names = [f"s{number:03d}" for number in range(count)]
    return tuple(tuple(names[first : first + size]) for first in range(0, count, size))


@pytest.mark.parametrize(("at_once", "size"), [(1, 1), (2, 1), (2, 2), (3, 2), (4, 2), (5, 3), (16, 8)])
@pytest.mark.parametrize("net", [1, 2, 4, 9])
def test_no_order_of_events_blocks_a_run_or_exceeds_the_places(at_once, size, net):
    for seed in range(12):
        run = Run(Plan(at_once, grouped(24, size)), net, seed, encoders=1 + seed % 2)
        run.finish()
        assert run.peak <= at_once


def test_groups_of_many_sizes_and_a_large_one_from_an_earlier_run():
    for seed in range(60):
        chance, names, groups = random.Random(seed), iter(f"s{n:03d}" for n in range(200)), []
        for size in [chance.randint(1, 4) for _ in range(8)] + [7]:
            groups.append(tuple(itertools.islice(names, size)))
        run = Run(Plan(4, tuple(groups)), chance.randint(1, 6), seed, encoders=2)
        run.finish()
        assert run.peak <= 7


def test_a_killed_run_is_finished_by_the_next_one_also_with_fewer_places():
    for seed in range(60):
        chance = random.Random(seed)
        before = Run(Plan(6, grouped(24, 3)), 4, seed)
        for _ in range(chance.randint(1, 120)):
            before.step()
        left = before.disk
        groups = [g for g in grouped(24, 1 + seed % 2) if not all(s in before.tissue and s not in left for s in g)]
        groups.sort(key=lambda group: not left.intersection(group))  # what is on the disk comes first
        after = Run(Plan(2, tuple(groups)), 1 + seed % 4, seed, disk=left)
        after.finish()
        assert after.peak <= max(2, len(left) + 1)


# --- processes --------------------------------------------------------------------------------------------------------


def fetch_like(folder: Path, slide: str, seconds: float, crash: bool = False) -> None:
    with places.place(slide, folder, sleep=lambda _: time.sleep(0.01)):
        (folder / f"{slide}.tif.partial").touch()
        if crash:
            import os

            os._exit(9)
        time.sleep(seconds)
        (folder / f"{slide}.tif.partial").rename(folder / f"{slide}.tif")


def begin(*arguments) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=fetch_like, args=arguments)
    process.start()
    return process


def until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_real_processes_take_places_in_turn_and_a_deleted_slide_frees_one(tmp_path):
    places.write_plan(tmp_path, Plan(1, (("a",), ("b",), ("c",))))
    jobs = [begin(tmp_path, slide, 0.05) for slide in "abc"]
    for _ in range(3):
        until(lambda: list(tmp_path.glob("*.tif")))
        assert len(list(tmp_path.glob("*.tif*"))) == 1
        time.sleep(0.1)
        (only,) = tmp_path.glob("*.tif*")
        only.unlink()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    assert not list(tmp_path.glob(".places/*.ticket"))


def test_a_killed_fetch_keeps_the_place_of_its_part_and_its_retry_owns_it(tmp_path):
    places.write_plan(tmp_path, Plan(1, (("a",), ("b",))))
    job = begin(tmp_path, "a", 0, True)
    job.join()
    assert job.exitcode == 9
    other = begin(tmp_path, "b", 0)
    time.sleep(0.2)
    assert not (tmp_path / "b.tif").exists()
    again = begin(tmp_path, "a", 0)
    again.join()
    assert (tmp_path / "a.tif").exists()
    (tmp_path / "a.tif").unlink()
    other.join()
    assert (tmp_path / "b.tif").exists()


def test_slides_that_a_run_does_not_read_hold_no_place_and_need_none(tmp_path):
    places.write_plan(tmp_path, Plan(1, (("a",),)))
    (tmp_path / "left_by_an_earlier_run.tif").touch()
    with places.place("a", tmp_path):
        (tmp_path / "a.tif").touch()
    with places.place("drawn", tmp_path):
        pass


def test_without_a_job_that_frees_a_place_the_first_in_line_says_so(tmp_path):
    places.write_plan(tmp_path, Plan(1, (("a",), ("b",))))
    (tmp_path / "a.tif").touch()
    stopped = pytest.raises(UserError, match=r"b: a hold the places .* look for the job that failed")
    with stopped, places.place("b", tmp_path, idle=lambda waiting: True, sleep=lambda s: None):
        raise AssertionError("no place is free")
    assert not list(tmp_path.glob(".places/*.ticket"))


def test_keep_going_writes_off_the_slides_of_a_failed_job(tmp_path):
    places.write_plan(tmp_path, Plan(3, (("a", "b"), ("c", "d"), ("e",)), keep_going=True))
    for slide in "abc":
        (tmp_path / f"{slide}.tif").touch()
    asked = []
    with places.place("d", tmp_path, idle=lambda waiting: not asked.append(waiting), sleep=lambda s: None):
        assert asked == [["d"]]
        (tmp_path / "d.tif").touch()
    assert places._lost(tmp_path / ".places") == {"a", "b"}, "c waits for d and stays"
    with places.place("e", tmp_path, sleep=lambda s: pytest.fail("a place is free")):
        pass
    places.write_plan(tmp_path, Plan(3, (("a", "b"),)))
    assert not places._lost(tmp_path / ".places"), "a new run begins afresh"


def test_idle_means_that_for_a_while_nothing_but_waiting_fetches_has_run(monkeypatch):
    monkeypatch.setattr(caller, "QUIET_S", 60.0)
    now, running = [0.0], [3]
    idle = caller.Idle(1, clock=lambda: now[0], count=lambda pid: running[0])
    for now[0], running[0], expected in (
        (0, 3, False),
        (70, 3, False),  # a job runs beside the two that wait
        (80, 2, False),
        (129, 2, False),
        (130, 2, True),
        (131, 3, False),  # a new job
        (150, 2, False),
    ):
        assert idle(["a", "b"]) is expected, now


def test_jobs_in_slurms_queue_run_too(monkeypatch, tmp_path):
    program = tmp_path / "squeue"
    monkeypatch.setattr(caller, "busy", lambda pid: 2)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for script, expected in (("echo 17; echo 18_4", 4), ("true", 2), ("exit 1", None), ("", None)):
        program.unlink(missing_ok=True)
        if script:
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        else:
            monkeypatch.setenv("PATH", str(tmp_path))
        count = caller.busy_or_queued(1)
        assert count > 10**6 if expected is None else count == expected, script
    (slurm,), (here,) = caller.idle(1, "slurm"), caller.idle(1, "here")
    assert slurm.count is caller.busy_or_queued and slurm.quiet_s > 3 * 180 and here.quiet_s == caller.QUIET_S
    assert not caller.idle(1, "elsewhere")


def test_a_process_and_its_programs_are_seen():
    import os
    import subprocess

    assert caller.alive(os.getpid())
    before = caller.busy(os.getpid())
    shell = subprocess.Popen(["sh", "-c", "sleep 30; true"])
    until(lambda: caller.busy(os.getpid()) == before + 1)
    until(lambda: caller.busy(shell.pid) == 1)
    child = caller.busy(os.getpid())
    shell.kill()
    until(lambda: not caller.alive(shell.pid))  # a zombie until it is waited for
    shell.wait()
    assert not caller.alive(shell.pid)
    assert caller.busy(os.getpid()) <= child
