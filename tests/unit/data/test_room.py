"""Whether the slides find room is known before the first comes, and said in one line."""

from __future__ import annotations

import itertools
import json
import os
from collections import namedtuple

import pytest
from fault_server import FaultServer

from chowder.data.download import places, room
from chowder.data.download.places import Plan
from chowder.data.download.transfer import Settings
from chowder.files import UserError

SIZES = {"a": 5, "b": 9, "c": 1, "d": 7, "e": 4}


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 9])
def test_what_is_needed_is_the_worst_of_all_choices_of_slides(at_once):
    here = {"d": 3, "c": 2, "e": 4}
    chosen = itertools.combinations(SIZES, min(at_once, len(SIZES)))
    missing = {slide: max(0, size - here.get(slide, 0)) for slide, size in SIZES.items()}
    worst = max(sum(missing[slide] for slide in some) for some in chosen)
    assert room.needed(SIZES, at_once, here) == worst


def test_sizes_are_those_that_the_server_tells():
    with FaultServer({"/a.tif": bytes(500), "/b.tif": bytes(300)}) as server:
        urls = {slide: [server.url(f"/{slide}.tif"), server.url("/other.tif")] for slide in "abc"}
        assert room.ask_sizes(urls, Settings(), 77) == {"a": 500, "b": 300, "c": 400}, "c: the mean of the others"
        assert server.heads and not server.log
        server.tells_sizes = False
        server.heads.clear()
        assert room.ask_sizes(urls, Settings(), 77) == dict.fromkeys("abc", 77)
        assert len(server.heads) == 1, "a server that tells none is not asked 399 times"
    assert room.ask_sizes(urls, Settings(), 77) == dict.fromkeys("abc", 77), "nobody listens"
    assert room.ask_sizes({}, Settings(), 77) == {}


def test_a_local_mirror_needs_no_room(tmp_path):
    assert room.ask_sizes({"a": [str(tmp_path / "a.tif")], "b": [f"file://{tmp_path}/b.tif"]}, Settings(), 77) == {
        "a": 0,
        "b": 0,
    }


Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def disk(monkeypatch):
    free = [0]
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: Usage(0, 0, free[0]))
    return free


def test_one_line_says_what_is_needed_and_what_is_free(tmp_path, disk, capsys):
    plan = Plan(2, (("a", "b"), ("c",)))
    asked = []

    def sizes(slides: list[str]) -> dict[str, int]:
        asked.append(slides)
        return dict.fromkeys(slides, 4000000000)

    places.write_plan(tmp_path, plan)
    disk[0] = 7_000_000_000
    for _ in range(2):
        with pytest.raises(UserError) as error:
            room.once_a_run(places.read_plan(tmp_path), tmp_path, sizes)
    assert str(error.value) == (
        f"{tmp_path}: 2 slides at a time (slides.at_once), up to 8 GB more on the disk; 7 GB are "
        "free, 1 GB are missing: free some space, lower slides.at_once, or put results on another disk"
    )
    assert asked == [["a", "b", "c"]], "asked once in a run"
    places.write_plan(tmp_path, plan)
    disk[0] = 8_000_000_000
    capsys.readouterr()
    for _ in range(2):
        room.once_a_run(plan, tmp_path, sizes)
    assert capsys.readouterr().err.count("up to 8 GB more on the disk; 8 GB are free\n") == 1


def test_slides_that_are_kept_count_all(tmp_path, disk):
    plan = Plan(399, (("a", "b"), ("c",)))
    line, enough = room.judge(plan, tmp_path, 10, 9)
    assert not enough and "3 slides, up to 10 bytes" in line and "keep no slides (slides: keep: false)" in line


def test_what_is_on_the_disk_already_is_not_needed_again(tmp_path, disk):
    places.write_plan(tmp_path, Plan(2, (("a", "b"),)))
    (tmp_path / "a.tif.partial").write_bytes(os.urandom(1 << 20))
    disk[0] = 1 << 20
    room.once_a_run(places.read_plan(tmp_path), tmp_path, lambda slides: dict.fromkeys(slides, 1 << 20))
    assert json.loads((tmp_path / places.FOLDER / "room.json").read_text()) == ""
