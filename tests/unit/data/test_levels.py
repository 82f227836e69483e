"""Only the levels that are read arrive, each byte once, whatever the server does; and the slide is the same slide."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
import struct
from pathlib import Path

import numpy as np
import openslide
import pytest
import pyvips
import tifffile
from fault_server import Fault, FaultServer
from slide_fixtures import DEFLATE, generic, philips, tissue_like

from chowder.data.download import levels, pages, partial, ranges, sparse
from chowder.data.download.levels import Whole, fetch_levels
from chowder.files import UserError
from chowder.slides import strict
from chowder.slides.levels import needed
from chowder.slides.reader import Reader
from shared_data import REASON, SHARED

KEY = "/images/tumor_091.tif"
FAST = {"retries": 3, "timeout_s": 2.0, "backoff_s": 0.01, "backoff_max_s": 0.05, "progress_s": 60}
TILES = {"size": 224, "mpp": 0.5, "resample": "target"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def choose(path, _):
    found = needed(path, TILES, 8.0)
    if found.obstacle:
        raise Whole(found.obstacle)
    return [(page, None) for page in found.pages]


def damage(data, page):
    return strict.damage(data, page.tile, page.tables)


def get(server, target: Path, **options):
    return fetch_levels([server.url(KEY)], target, choose, damage, **{"settings": FAST} | options)


def like_camelyon(path: Path, side: int = 3000, mpp: float = 0.25, bigtiff: bool = True, **options) -> Path:
    """A pyramid as libvips writes it: BigTIFF, the levels behind each other, each followed by its directory."""
    image = pyvips.Image.new_from_array(tissue_like(side, side, 5)).copy(xres=1000 / mpp, yres=1000 / mpp)
    options = {"compression": "jpeg", "Q": 80, "tile_width": 256, "tile_height": 256} | options
    image.tiffsave(str(path), tile=True, pyramid=True, bigtiff=bigtiff, **options)
    return path


def shuffled(source: Path, target: Path, seed: int = 3) -> Path:
    """The same slide with the tiles of all levels in random order behind the directories."""
    data = bytearray(source.read_bytes())
    with tifffile.TiffFile(source) as file:
        width = "<Q" if file.is_bigtiff else "<I"
        places = []
        for page in file.pages:
            tag = page.tags[324]
            for i, (start, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
                places.append((tag.valueoffset + i * struct.calcsize(width), start, size))
    random.Random(seed).shuffle(places)
    moved = [(place, bytes(data[start : start + size])) for place, start, size in places]
    for _, start, size in places:
        data[start : start + size] = bytes(size)
    for place, tile in moved:
        if tile:
            struct.pack_into(width, data, place, len(data))
            data += tile
    target.write_bytes(data)
    return target


def page_sizes(path: Path) -> list[int]:
    with tifffile.TiffFile(path) as file:
        return [sum(page.databytecounts) for page in file.pages]


def by_libvips(path: Path, level: int) -> np.ndarray:
    """The level's pixels; nothing where libvips can't read it (empty tiles)."""
    try:
        return pyvips.Image.tiffload(str(path), page=level, fail_on="error").numpy()
    except pyvips.Error:
        return np.zeros(0)


def requests_for_directories(server) -> int:
    return sum(request.sent < 5000 for request in server.log)


def same_slide(whole: Path, part: Path, finest: int = 1) -> None:
    """Every level from ``finest`` on has equal pixels in OpenSlide and libvips, and finer ones fail loudly."""
    assert part.stat().st_size == whole.stat().st_size
    with openslide.OpenSlide(str(whole)) as a, openslide.OpenSlide(str(part)) as b:
        assert dict(a.properties) == dict(b.properties)
        assert a.properties["openslide.quickhash-1"]
        for level in range(finest, a.level_count):
            region = (0, 0), level, a.level_dimensions[level]
            assert np.array_equal(np.asarray(a.read_region(*region)), np.asarray(b.read_region(*region)))
            assert np.array_equal(by_libvips(whole, level), by_libvips(part, level))
    for level in range(finest):
        with openslide.OpenSlide(str(part)) as b, pytest.raises(openslide.OpenSlideError):
            b.read_region((0, 0), level, (64, 64))
        with pytest.raises(pyvips.Error):
            pyvips.Image.tiffload(str(part), page=level, fail_on="error").avg()


MAKERS = {
    "as libvips writes it": like_camelyon,
    "classic TIFF": lambda path: like_camelyon(path, bigtiff=False),
    "levels interleaved": lambda path: shuffled(like_camelyon(path.with_suffix(".a.tif")), path),
    "directories at the end": lambda path: generic(path, 2400, 2000, 4),
    "Philips padding": lambda path: philips(path, 2400, 2000, 4),
    "empty tiles": lambda path: generic(path, 2400, 2000, 4, sparse=[(0, 1, 1), (1, 2, 1), (1, 0, 0), (2, 1, 1)]),
}


@pytest.mark.parametrize("form", MAKERS)
def test_the_levels_that_are_read_are_the_same_slide(tmp_path, form):
    source = MAKERS[form](tmp_path / "source.tif")
    with FaultServer({KEY: source.read_bytes()}) as server:
        done = get(server, tmp_path / "out" / "a.tif")
        sent = server.sent(KEY)
    same_slide(source, done.path)
    assert [path.name for path in done.path.parent.iterdir()] == ["a.tif"]
    assert done.pages == tuple(range(1, len(page_sizes(source))))
    assert done.transferred == sent
    kept, original = done.path.read_bytes(), source.read_bytes()
    with tifffile.TiffFile(source) as file:
        first = file.pages[0]
        assert all(kept[a : a + n] == bytes(n) for a, n in zip(first.dataoffsets, first.databytecounts, strict=True)), (
            "level 0 is all holes, never half a tile"
        )
    here = b"".join(original[a:b] for a, b in in_file(source))
    assert done.size == len(here) and done.sha256 == hashlib.sha256(here).hexdigest()


def in_file(source: Path) -> list[tuple[int, int]]:
    """What must be fetched: header, directories, their values, tiles of all levels but the first (another way)."""
    marks = np.zeros(source.stat().st_size, bool)
    with tifffile.TiffFile(source) as file:
        marks[: 16 if file.is_bigtiff else 8] = True
        for number, page in enumerate(file.pages):
            layout = file.tiff
            marks[page.offset :][: layout.tagnosize + len(page.tags) * layout.tagsize + layout.offsetsize] = True
            for tag in page.tags:
                marks[tag.valueoffset :][: tag.valuebytecount] = True
            for start, size in zip(page.dataoffsets, page.databytecounts, strict=True):
                if number:
                    marks[start:][:size] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


@pytest.mark.skipif(SHARED is None, reason=REASON)
@pytest.mark.parametrize("slide", ["normal_001", "tumor_001"])
def test_of_a_real_slide_at_most_35_percent_are_sent(tmp_path, slide):
    source = SHARED / "real_slides" / "images" / f"{slide}.tif"
    with FaultServer({KEY: source.read_bytes()}) as server:
        done = get(server, tmp_path / "a.tif")
        assert server.sent(KEY) <= 0.35 * source.stat().st_size
        assert server.sent(KEY) <= 1.05 * done.size
        assert len(server.log) <= 12
    same_slide(source, done.path)


def test_tiles_and_overview_are_the_same_and_the_missing_level_is_an_error_not_black(tmp_path):
    from chowder.slides.grid import grid

    source = like_camelyon(tmp_path / "source.tif")
    with FaultServer({KEY: source.read_bytes()}) as server:
        get(server, tmp_path / "a.tif")
    with Reader(source) as whole, Reader(tmp_path / "a.tif") as part:
        lay = grid(whole.info, **TILES)
        xy = np.rint(np.argwhere(np.ones((lay.rows, lay.columns)))[:, ::-1] * lay.extent).astype(int)
        for one, other in zip(whole.tiles(xy, lay), part.tiles(xy, lay), strict=True):
            assert np.array_equal(one, other)
        assert np.array_equal(whole.thumbnail(8.0), part.thumbnail(8.0))
        fine = grid(part.info, 224, 0.25)
        with pytest.raises(UserError, match="level 0"):
            list(part.tiles(np.array([[0, 0]]), fine))
        with pytest.raises(UserError, match="level 0"):
            part.thumbnail(0.3)


@pytest.mark.parametrize(
    ("mpp", "tiles", "tissue", "level"),
    [(0.25, 0.5, 8.0, 1), (0.25, 0.25, 8.0, 0), (0.5, 0.5, 8.0, 0), (0.25, 1.0, 8.0, 1), (0.25, 8.0, 0.6, 1)],
)
def test_the_finest_level_is_the_one_that_the_reader_reads(tmp_path, monkeypatch, mpp, tiles, tissue, level):
    source = like_camelyon(tmp_path / "a.tif", mpp=mpp)
    assert needed(source, TILES | {"mpp": tiles}, tissue).level == level
    assert needed(source, TILES | {"mpp": tiles}, tissue).pages == tuple(range(level, len(page_sizes(source))))


def test_a_figure_of_a_small_slide_counts_as_a_reader(tmp_path):
    """A detail of a slide of 0.4 mm is drawn from level 0 (at most 900 px a side)."""
    assert needed(like_camelyon(tmp_path / "a.tif", side=1600), TILES, 8.0).level == 0
    assert needed(like_camelyon(tmp_path / "b.tif", side=1900), TILES, 8.0).level == 1


@pytest.mark.parametrize("kind", ["drop", "truncate", "stall"])
def test_a_broken_range_goes_on_at_the_exact_byte(tmp_path, kind):
    source = like_camelyon(tmp_path / "source.tif")
    with FaultServer({KEY: source.read_bytes()}) as server:
        clean = get(server, tmp_path / "clean.tif")
        directories = requests_for_directories(server)
        server.log.clear()
        server.faults[KEY] = [Fault("none")] * directories + [Fault(kind, after=100_000), Fault(kind, after=50_000)]
        done = get(server, tmp_path / "a.tif")
    assert done.path.read_bytes() == clean.path.read_bytes()
    asked = [request for request in server.log if request.sent > 5000]
    assert len(asked) == 3 and all(request.if_match for request in asked)
    ends = [int(request.range.rpartition("-")[2]) for request in asked]
    assert ends[0] == ends[1] == ends[2], "the rest of the same range"
    if kind != "drop":  # a reset may destroy what was sent but not yet read
        starts = [int(request.range[6:].partition("-")[0]) for request in asked]
        assert np.diff(starts).tolist() == [100_000, 50_000]
        assert sum(request.sent for request in server.log) == clean.transferred


def test_after_a_kill_only_the_rest_comes(tmp_path):
    """The client dies in the middle of its ranges, three times; what was written and noted is never sent again."""
    source = like_camelyon(tmp_path / "source.tif", side=5000)

    class Killed(BaseException):
        pass

    with FaultServer({KEY: source.read_bytes()}) as server:
        clean = get(server, tmp_path / "clean.tif")
        server.log.clear()
        real, received, kept = sparse.SparseFile.write, [], []
        for limit in (3_000, 200_000, 700_000):
            seen = [0]

            def write(self, start, piece, seen=seen, limit=limit):
                seen[0] += len(piece)
                if seen[0] > limit:
                    raise Killed
                real(self, start, piece)
                kept.append(len(piece))

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sparse.SparseFile, "write", write)
                patch.setattr(levels.Remote, "_advance", lambda self, count: received.append(count))
                with pytest.raises(Killed):
                    get(server, tmp_path / "a.tif")
            assert not (tmp_path / "a.tif").exists() and (tmp_path / "a.tif.partial").exists()
        done = get(server, tmp_path / "a.tif")
    assert done.path.read_bytes() == clean.path.read_bytes() and done.sha256 == clean.sha256
    assert sum(kept) > 100_000  # how much depends on the pieces in which the network hands it over
    assert done.transferred <= clean.transferred - sum(kept) + 4 * levels.GAP, "what was written is not sent again"
    lost = sum(received) - sum(kept)
    assert lost <= 3 * (sparse.PIECE + partial.CHUNK + 6 * pages.AHEAD)


@pytest.mark.parametrize("how", ["hole", "torn", "foreign line", "no journal", "other length"])
def test_a_journal_never_makes_a_hole_count(tmp_path, how):
    """After a power cut journal and data may disagree in any way: what isn't there is fetched."""
    source = like_camelyon(tmp_path / "source.tif")
    target = tmp_path / "a.tif"
    part, note, journal = sparse.leftovers(target)
    with FaultServer({KEY: source.read_bytes()}) as server:
        clean = get(server, tmp_path / "clean.tif")
        server.faults[KEY] = [Fault("none")] * requests_for_directories(server) + [Fault("truncate", after=300_000)]
        with pytest.raises(UserError, match="what came is kept"):
            get(server, target, settings=FAST | {"retries": 0})
        assert json.loads(note.read_text())["version"]["etag"]
        lines = journal.read_bytes()
        if how == "hole":
            start, size, _ = max((line.split() for line in lines.split(b"\n") if line), key=lambda line: int(line[1]))
            with part.open("rb+") as handle:
                handle.seek(int(start))
                handle.write(bytes(int(size)))
        elif how == "torn":
            journal.write_bytes(lines[:-20])
        elif how == "foreign line":
            journal.write_bytes(lines + b"0 99999999 0123456789abcdef\n5 x\n\xff".replace(b"\xff", b"?"))
        elif how == "no journal":
            journal.unlink()
        else:
            with part.open("ab") as handle:
                handle.truncate(1000)
        done = get(server, target)
    assert done.path.read_bytes() == clean.path.read_bytes()
    assert not note.exists() and not journal.exists()


def changing(server, new: bytes, at: int):
    server.faults[KEY] = [Fault("none")] * at + [Fault("content", content=new)]


@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.parametrize("at", [1, 4, 6])
def test_two_versions_are_never_joined(tmp_path, etags, at):
    old = like_camelyon(tmp_path / "old.tif").read_bytes()
    new = like_camelyon(tmp_path / "new.tif", Q=70).read_bytes()
    with FaultServer({KEY: new}) as server:
        clean = get(server, tmp_path / "clean.tif")
    with FaultServer({KEY: old}) as server:
        server.etags, server.modified = etags, "" if etags else "Wed, 25 Nov 2026 00:00:00 GMT"
        changing(server, new, at)
        done = get(server, tmp_path / "a.tif")
    assert done.path.read_bytes() == clean.path.read_bytes()


def test_a_part_of_an_older_version_is_dropped_by_the_next_run(tmp_path):
    old = like_camelyon(tmp_path / "old.tif").read_bytes()
    new = like_camelyon(tmp_path / "new.tif", Q=70).read_bytes()
    with FaultServer({KEY: old}) as server:
        server.faults[KEY] = [Fault("none")] * 6 + [Fault("truncate", after=100_000)]
        with pytest.raises(UserError):
            get(server, tmp_path / "a.tif", settings=FAST | {"retries": 0})
        server.files[KEY] = new
        server.faults.clear()
        get(server, tmp_path / "a.tif")
        get(server, tmp_path / "b.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_a_file_that_changes_all_the_time_is_given_up(tmp_path):
    content = like_camelyon(tmp_path / "old.tif").read_bytes()
    with FaultServer({KEY: content}) as server:
        one, other = content, content + b"\0"
        server.faults[KEY] = [Fault("content", content=(one, other)[i % 2]) for i in range(40)]
        with pytest.raises(UserError, match="changed 3 times"):
            get(server, tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["misplaced", "mislabelled", "capped"])
def test_an_answer_with_another_range_than_asked_is_not_used(tmp_path, kind):
    source = like_camelyon(tmp_path / "source.tif")
    with FaultServer({KEY: source.read_bytes()}) as server:
        server.faults[KEY] = [Fault("none"), Fault(kind, after=100), Fault("none"), Fault(kind, after=3000)]
        done = get(server, tmp_path / "a.tif")
        server.always[KEY] = Fault("mislabelled")
        with pytest.raises(UserError, match="bytes 7 to 22 came, not 0 to 15, after 4 tries"):
            get(server, tmp_path / "b.tif")
    same_slide(source, done.path)


@pytest.mark.parametrize("kind", ["other_total", "other_tag"])
def test_an_answer_of_another_file_is_not_used(tmp_path, kind):
    source = like_camelyon(tmp_path / "source.tif")
    with FaultServer({KEY: source.read_bytes()}) as server:
        server.faults[KEY] = [Fault("none")] * 6 + [Fault(kind)]
        done = get(server, tmp_path / "a.tif")
        assert sum(request.range == "bytes=0-15" for request in server.log) == 2, "it starts again"
    same_slide(source, done.path)


@pytest.mark.parametrize("why", ["ranges", "version", "empty", "no TIFF", "compression", "local"])
def test_what_can_only_come_whole_is_said(tmp_path, why):
    content = {"empty": b"", "no TIFF": b"<html>" + bytes(5000)}.get(why)
    if why == "compression":
        content = generic(tmp_path / "s.tif", 900, 700, compression=DEFLATE).read_bytes()
    content = like_camelyon(tmp_path / "t.tif").read_bytes() if content is None else content
    reasons = {
        "ranges": "knows no ranges",
        "version": "names no version",
        "empty": "empty",
        "no TIFF": "no TIFF",
        "compression": "compression 8, not JPEG",
        "local": "local file",
    }
    with FaultServer({KEY: content}) as server:
        server.ranges, server.etags = why != "ranges", why != "version"
        with pytest.raises(Whole, match=reasons[why]):
            if why == "local":
                fetch_levels([str(tmp_path / "t.tif")], tmp_path / "a.tif", choose, damage, FAST)
            else:
                get(server, tmp_path / "a.tif")
    levels.drop_leftovers(tmp_path / "a.tif")
    assert not list(tmp_path.glob("a.tif*"))


def spoilt(content: bytes, source: Path, page: int = 1, tile: int = 3) -> bytes:
    """``content`` with the middle of one stored tile zeroed."""
    with tifffile.TiffFile(source) as file:
        start, size = file.pages[page].dataoffsets[tile], file.pages[page].databytecounts[tile]
    return content[: start + size // 3] + bytes(size // 3) + content[start + 2 * size // 3 :]


def test_a_damaged_tile_is_named_and_no_slide(tmp_path):
    source = like_camelyon(tmp_path / "source.tif")
    damaged = spoilt(source.read_bytes(), source)
    assert len(damaged) == source.stat().st_size
    with FaultServer({KEY: damaged}) as server, pytest.raises(UserError, match=r"tile 3 of its image 1 .*is damaged"):
        get(server, tmp_path / "a.tif")
    assert not (tmp_path / "a.tif").exists()


def test_a_tile_that_was_damaged_on_the_way_is_fetched_once_more(tmp_path, monkeypatch):
    source = like_camelyon(tmp_path / "source.tif")
    damaged, real, swaps = spoilt(source.read_bytes(), source), ranges.Remote._once, []

    def once(self, start, end):
        for chunk in real(self, start, end):
            if end - start > 200_000 and not swaps:
                swaps.append(start)
            size = len(chunk)
            yield damaged[start : start + size] if swaps == [end] or end - start > 200_000 else chunk
            start += size

    with FaultServer({KEY: source.read_bytes()}) as server:
        monkeypatch.setattr(ranges.Remote, "_once", once)
        done = get(server, tmp_path / "a.tif")
        assert swaps, "a large range was damaged"
        assert server.log[-1].sent == page_tile(source, 1, 3), "that tile alone"
    same_slide(source, done.path)


def page_tile(source: Path, page: int, tile: int) -> int:
    with tifffile.TiffFile(source) as file:
        return file.pages[page].databytecounts[tile]


def test_a_wrong_sum_is_told_after_a_second_try(tmp_path):
    source = like_camelyon(tmp_path / "source.tif")
    with FaultServer({KEY: source.read_bytes()}) as server:
        with pytest.raises(UserError, match="sum is x, also when fetched again"):
            get(server, tmp_path / "a.tif", expected=lambda done: "sum is x")
        assert sum(request.range == "bytes=0-15" for request in server.log) == 2
        assert not list(tmp_path.glob("a.tif*"))


def test_tiles_beyond_the_end_are_told_before_they_are_asked_for(tmp_path):
    source = generic(tmp_path / "source.tif", 1500, 1100, 4, beyond=[(1, 0, 0)])
    with FaultServer({KEY: source.read_bytes()}) as server, pytest.raises(UserError, match="is cut off: 1 tiles"):
        get(server, tmp_path / "a.tif")


def test_an_absent_file_is_looked_for_under_its_other_names(tmp_path):
    source = like_camelyon(tmp_path / "source.tif")
    with FaultServer({KEY: source.read_bytes()}) as server:
        done = fetch_levels([server.url("/no.tif"), server.url(KEY)], tmp_path / "a.tif", choose, damage, FAST)
        assert done.source == server.url(KEY)
        with pytest.raises(UserError, match=r"404.*nor are 1 other"):
            fetch_levels([server.url("/no.tif"), server.url("/nor.tif")], tmp_path / "b.tif", choose, damage, FAST)
    assert not list(tmp_path.glob("b.tif*"))


def test_two_processes_do_not_write_one_file(tmp_path):
    source = like_camelyon(tmp_path / "source.tif")
    with FaultServer({KEY: source.read_bytes()}) as server:
        with sparse.SparseFile(tmp_path / "a.tif", "x"), pytest.raises(UserError, match="another process"):
            get(server, tmp_path / "a.tif")
        get(server, tmp_path / "a.tif")


def test_other_settings_take_back_what_is_not_wanted_any_more(tmp_path):
    """A killed run wanted level 0 too; the one that goes on does not: nothing of level 0 stays, not half a tile."""
    source = like_camelyon(tmp_path / "source.tif")
    with FaultServer({KEY: source.read_bytes()}) as server:
        clean = get(server, tmp_path / "clean.tif")
        server.faults[KEY] = [Fault("none")] * 6 + [Fault("truncate", after=300_000)]
        server.always[KEY] = Fault("truncate", after=50)
        with pytest.raises(UserError, match="what came is kept"):
            fetch_levels(
                [server.url(KEY)],
                tmp_path / "a.tif",
                lambda path, found: [(page.number, None) for page in found],
                damage,
                FAST | {"retries": 0},
            )
        server.always.clear()
        server.faults.clear()
        done = get(server, tmp_path / "a.tif")
    assert done.path.read_bytes() == clean.path.read_bytes()


def test_single_tiles_can_be_chosen(tmp_path):
    source = like_camelyon(tmp_path / "source.tif")
    with FaultServer({KEY: source.read_bytes()}) as server:
        done = fetch_levels(
            [server.url(KEY)], tmp_path / "a.tif", lambda path, found: [(0, [7]), (2, [0])], damage, FAST
        )
        assert server.sent(KEY) <= 1.2 * done.size + 5 * pages.AHEAD
    kept, original = done.path.read_bytes(), source.read_bytes()
    with tifffile.TiffFile(source) as file:
        for number, page in enumerate(file.pages):
            for index, (start, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
                chosen = (number, index) in {(0, 7), (2, 0)}
                assert kept[start : start + size] == (original[start : start + size] if chosen else bytes(size))


# Sets of bytes ------------------------------------------------------------------------


def test_sets_of_bytes_agree_with_plain_sets():
    draw = random.Random(1)
    for _ in range(300):
        one, other = sparse.Ranges(), sparse.Ranges()
        plain, others = set(), set()
        for _ in range(draw.randrange(1, 9)):
            a, b = sorted(draw.sample(range(40), 2))
            one.add(a, b)
            plain |= set(range(a, b))
            a, b = sorted(draw.sample(range(40), 2))
            other.add(a, b)
            others |= set(range(a, b))
        assert {i for a, b in one for i in range(a, b)} == plain and one.size == len(plain)
        assert all(a[1] < b[0] for a, b in zip(list(one), list(one)[1:], strict=False)), "apart and in order"
        assert {i for a, b in one.without(other) for i in range(a, b)} == plain - others
        a, b = sorted(draw.sample(range(40), 2))
        assert {i for x, y in one.within(a, b) for i in range(x, y)} == plain & set(range(a, b))


def test_ranges_with_small_gaps_are_one_request():
    assert sparse.merged([(0, 10), (14, 20), (40, 50)], 4) == [(0, 20), (40, 50)]
    assert sparse.merged([], 4) == []


# Strict decoding ----------------------------------------------------------------------


def stored_tiles(tmp_path) -> list[tuple[bytes, pages.Page]]:
    source = like_camelyon(tmp_path / "s.tif", side=1500)
    with tifffile.TiffFile(source) as file:
        page = file.pages[0]
        data, tables = source.read_bytes(), page.jpegtables
        return [(data[a : a + n], tables) for a, n in zip(page.dataoffsets, page.databytecounts, strict=True) if n]


JUDGES = [strict.by_libvips] + ([strict.by_simplejpeg] if importlib.util.find_spec("simplejpeg") else [])


@pytest.mark.parametrize("judge", JUDGES)
def test_zeroed_stretches_and_cut_tiles_are_damage(tmp_path, monkeypatch, judge):
    monkeypatch.setattr(strict, "_judge", lambda: judge)
    tiles = stored_tiles(tmp_path)
    found = 0
    for data, tables in tiles:
        assert strict.damage(data, (256, 256), tables) == ""
        cut = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
        assert strict.damage(cut, (256, 256), tables)
        third = len(data) // 3
        found += strict.damage(data[:third] + bytes(third) + data[2 * third :], (256, 256), tables) != ""
    assert found >= 0.9 * len(tiles)


@pytest.mark.parametrize("judge", JUDGES)
def test_what_is_no_tile_is_damage(tmp_path, monkeypatch, judge):
    monkeypatch.setattr(strict, "_judge", lambda: judge)
    data, tables = stored_tiles(tmp_path)[0]
    assert strict.damage(bytes(len(data)), (256, 256), tables) == "nothing but zeros"
    assert strict.damage(b"", (256, 256), tables)
    assert "256 x 256" in strict.damage(data, (512, 512), tables)
    assert strict.damage(b"<html>no tile</html>" * 20, (256, 256), tables)


def test_the_note_keeps_passwords_out(tmp_path):
    source = like_camelyon(tmp_path / "source.tif")
    with FaultServer({KEY: source.read_bytes()}) as server:
        server.faults[KEY] = [Fault("none")] * 4
        server.always[KEY] = Fault("truncate", after=1)
        url = server.url(KEY + "?Signature=hidden").replace("http://", "http://me:pass@")
        with pytest.raises(UserError) as error:
            fetch_levels([url], tmp_path / "a.tif", choose, damage, FAST | {"retries": 0})
    note = json.loads((tmp_path / "a.tif.partial.json").read_text())
    assert "hidden" not in json.dumps(note) + str(error.value) and "pass@" not in json.dumps(note) + str(error.value)
