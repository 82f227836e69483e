"""The program that fetches: levels where they can be fetched alone, the whole file otherwise, and a record of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import pyvips
from fault_server import Fault, FaultServer
from slide_fixtures import tissue_like

import fetch as program
from chowder.data.download import places
from chowder.files import UserError

SLIDE = "tumor_001"
READS = json.dumps({"tissue_mpp": 8.0, "tiles": {"size": 224, "mpp": 0.5, "resample": "target"}, "mpp": ""})


@pytest.fixture(scope="module")
def slide(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("slide") / "a.tif"
    image = pyvips.Image.new_from_array(tissue_like(2000, 2000, 5)).copy(xres=4000, yres=4000)
    image.tiffsave(str(path), tile=True, pyramid=True, compression="jpeg", Q=80, tile_width=256, tile_height=256)
    return path.read_bytes()


@pytest.fixture
def server(slide, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FaultServer({f"/images/{SLIDE}.tif": slide, "/other/place.tif": slide}) as server:
        yield server


def fetch(server, folder: Path, *more: str, levels: bool = True) -> dict:
    (folder / "sums.md5").write_text(f"{hashlib.md5(server.files['/other/place.tif']).hexdigest()} *images/{SLIDE}.tif")
    arguments = ["--base", server.url(), "--slide", SLIDE, "--md5-list", str(folder / "sums.md5")]
    arguments += ["--settings", json.dumps({"retries": 0, "timeout_s": 5}), "--record", str(folder / "record.json")]
    arguments += ["--levels-for", READS] if levels else []
    program.main([*arguments, *more, "--output", str(folder / f"{SLIDE}.tif")])
    return json.loads((folder / "record.json").read_text())


def test_only_the_levels_that_are_read_come_and_the_record_says_which(server, slide, tmp_path):
    record = fetch(server, tmp_path)
    assert record["levels"] == "needed" and record["pages"] == [1, 2, 3] and record["length"] == len(slide)
    assert 0.2 * len(slide) < record["size"] <= server.sent(f"/images/{SLIDE}.tif") < 0.5 * len(slide)
    whole, part = slide, (tmp_path / f"{SLIDE}.tif").read_bytes()
    assert len(part) == len(whole) and part != whole
    assert all(a in (0, b) for a, b in zip(part, whole, strict=True)), "the same bytes in their places, or holes"


@pytest.mark.parametrize("why", ["no ranges", "asked for"])
def test_the_whole_file_comes_with_its_md5(server, slide, tmp_path, capsys, why):
    server.ranges = why != "no ranges"
    record = fetch(server, tmp_path, levels=why == "no ranges")
    assert (tmp_path / f"{SLIDE}.tif").read_bytes() == slide
    assert record["levels"] == "all" and record["md5"] == hashlib.md5(slide).hexdigest()
    assert ("warning: tumor_001.tif: is fetched whole: the server knows no ranges" in capsys.readouterr().err) == (
        why == "no ranges"
    )


@pytest.mark.parametrize("levels", [True, False])
def test_what_a_killed_run_left_in_the_other_mode_does_no_harm(server, slide, tmp_path, capsys, levels):
    key = f"/images/{SLIDE}.tif"
    server.faults[key] = [Fault("none")] * (0 if levels else 5) + [Fault("truncate", after=70_000)]
    server.always[key] = Fault("hang_up")
    with pytest.raises(UserError, match=r"kept|are kept"):
        fetch(server, tmp_path, levels=not levels)
    assert (tmp_path / f"{SLIDE}.tif.partial").stat().st_size
    server.always.clear()
    server.faults.clear()
    capsys.readouterr()
    record = fetch(server, tmp_path, levels=levels)
    assert record["levels"] == ("needed" if levels else "all")
    assert "fetching it once more" not in capsys.readouterr().err
    assert {path.name for path in tmp_path.glob(f"{SLIDE}*")} == {f"{SLIDE}.tif"}
    if not levels:
        assert (tmp_path / f"{SLIDE}.tif").read_bytes() == slide


def test_a_known_sum_is_compared(server, tmp_path):
    right = fetch(server, tmp_path)
    sums = tmp_path / "levels.csv"
    sums.write_text(f"slide,pages,sha256\n{SLIDE},1 2 3,{right['sha256']}\nnormal_001,1 2,{'0' * 64}\n")
    fetch(server, tmp_path, "--sums", str(sums))
    sums.write_text(f"slide,pages,sha256\n{SLIDE},1 2,{'0' * 64}\n")
    fetch(server, tmp_path, "--sums", str(sums))  # of other levels
    sums.write_text(f"slide,pages,sha256\n{SLIDE},1 2 3,{'0' * 64}\n")
    with pytest.raises(UserError, match=rf"sha256 is {right['sha256']}, expected 0000.*also when fetched again"):
        fetch(server, tmp_path, "--sums", str(sums))


def test_the_tables_own_key_is_the_first_that_is_tried(server, tmp_path):
    fetch(server, tmp_path, "--key", "other/place.tif")
    assert {request.path for request in server.log} == {"/other/place.tif"}


def test_room_for_levels_is_a_part_of_that_for_slides(server, slide, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(program.room, "once_a_run", lambda plan, folder, sizes: asked.append(sizes([SLIDE])))
    places.write_plan(tmp_path, places.Plan(1, ((SLIDE,),)))
    fetch(server, tmp_path, "--places")
    fetch(server, tmp_path, "--places", levels=False)
    assert asked == [{SLIDE: int(0.4 * len(slide))}, {SLIDE: len(slide)}]


def test_the_record_names_the_content_however_it_came(server, slide, tmp_path):
    md5 = hashlib.md5(slide).hexdigest()
    assert fetch(server, tmp_path)["content"] == fetch(server, tmp_path, levels=False)["content"] == md5


def test_a_local_file_is_linked_and_stays_as_it_is(slide, tmp_path):
    (tmp_path / "images").mkdir()
    own = tmp_path / "images" / f"{SLIDE}.tif"
    own.write_bytes(slide)
    before = own.stat().st_mtime_ns
    arguments = ["--base", str(tmp_path), "--slide", SLIDE, "--md5", hashlib.md5(slide).hexdigest()]
    program.main([*arguments, "--levels-for", READS, "--output", str(tmp_path / "linked.tif")])
    assert (tmp_path / "linked.tif").is_symlink() and own.stat().st_mtime_ns == before


@pytest.mark.parametrize("levels", [True, False])
def test_a_fetch_that_outlived_its_snakemake_leaves_a_whole_part_that_costs_no_byte(
    server, slide, tmp_path, monkeypatch, levels
):
    class Ended(BaseException):
        pass

    def ended(pid: int) -> None:
        raise Ended

    monkeypatch.setattr(program.caller, "leave_with", lambda pid: None)
    monkeypatch.setattr(program.caller, "stay_only_with", ended)
    with pytest.raises(Ended):
        fetch(server, tmp_path, "--caller", "1", levels=levels)
    assert not (tmp_path / f"{SLIDE}.tif").exists() and (tmp_path / f"{SLIDE}.tif.partial").exists()
    sent = server.sent(f"/images/{SLIDE}.tif")
    fetch(server, tmp_path, levels=levels)
    assert (tmp_path / f"{SLIDE}.tif").stat().st_size == len(slide)
    assert server.sent(f"/images/{SLIDE}.tif") - sent < 0.05 * len(slide)
