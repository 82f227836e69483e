"""A full disk is one line that names the file, and leaves nothing half-written, whatever library was writing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chowder import files
from chowder.files import DiskFull, UserError

LIBRARY = Path(files.__file__).parents[1]
LIMIT = 64 << 10  # bytes: none of the files below is smaller


def feature_file(path):
    from chowder.features import feature_file

    feature_file.write(path.with_suffix(".h5"), np.random.default_rng(0).random((4000, 64)), np.zeros((4000, 2)), {})


def slide(path):
    from chowder.data.simulation.render import write_slide

    picture = np.random.default_rng(0).integers(0, 255, (600, 600, 3), np.uint8)
    write_slide(picture, 0.25, "tumor_001", 1, path.with_suffix(".tif"))


def image(path):
    from PIL import Image

    with files.atomic(path.with_suffix(".png")) as scratch:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)).save(scratch)


def table(path):
    import pyarrow as pa

    from chowder.slides import grid, tile_table

    columns = {name: np.arange(60_000, dtype=np.int32) * 7919 for name in "xy"}
    made = grid.Grid(224, 0.5, 0.5, "target", 0, 448.0, 0.25, 1.0, 2, 2)
    tile_table.write(path.with_suffix(".parquet"), pa.table(columns), made, "a")


def model(path):
    import torch

    from chowder.models.model_file import save_content

    save_content(path.with_suffix(".pt"), {"kind": "x", "a": torch.rand(100_000)})


def clam(path):
    from chowder.features import layouts

    grid = {"extent": 448.0, "mpp0": 0.25, "size": 224}
    layouts.write(path.parent, "a", "clam", np.ones((4000, 64)), np.zeros((4000, 2)), grid, "toy", (9, 9))


def text(path):
    files.write_text(path, "x" * 10**6)


WRITERS = (feature_file, slide, image, table, model, clam, text)


def every_writer(folder: Path) -> None:
    """Print of each writer what it raised and what it left; run in a process that has little room."""
    for writer in WRITERS:
        place = folder / writer.__name__
        place.mkdir()
        try:
            writer(place / "file.txt")
            said = "fine"
        except DiskFull as error:
            said = str(error)
        left = [str(path.relative_to(folder)) for path in place.rglob("*") if path.is_file()]
        print(f"{writer.__name__}|{said}|{' '.join(left)}")


def run(folder: Path, limit: int | None) -> list[list[str]]:
    code = "import sys, pathlib, test_full_disk; test_full_disk.every_writer(pathlib.Path(sys.argv[1]))"
    paths = os.pathsep.join([str(LIBRARY), str(Path(__file__).parent)])
    result = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return [line.split("|") for line in result.stdout.splitlines()]


def check(rows: list[list[str]], reason: str) -> None:
    assert [row[0] for row in rows] == [writer.__name__ for writer in WRITERS]
    for name, said, left in rows:
        assert f"{name}/" in said, "the file is named"
        assert reason in said, said
        assert said.endswith("free some space, then run again (nothing half-written was kept)")
        assert left == ""


def test_a_limit_on_the_size_of_files_ends_every_writer_in_one_line(tmp_path):
    check(run(tmp_path, LIMIT), "too large for its disk or for this process")


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs with room for 60 kB, where this process may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_ends_every_writer_in_one_line(small_disk):
    check(run(small_disk, None), "its disk is full")


def test_what_was_there_before_a_full_disk_is_still_there(small_disk):
    (small_disk / "a.txt").write_text("old")
    with pytest.raises(DiskFull, match=r"a\.txt: its disk is full: free"):
        files.write_text(small_disk / "a.txt", "x" * 10**6)
    assert [path.name for path in small_disk.iterdir()] == ["a.txt"]
    assert (small_disk / "a.txt").read_text() == "old"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError("Can't write (errno = 28, error message = 'No space left on device')"), True),
        (RuntimeError("wbuffer_write: write failed\nsystem error: No space left on device"), True),
        (OSError(122, "Disk quota exceeded"), True),
        (OSError(13, "Permission denied"), False),
        (ValueError("a bug"), False),
        (UserError("No space left on device"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_only_a_full_disk_is_called_one(tmp_path, error, full):
    with pytest.raises(DiskFull if full else type(error)) as said, files.atomic(tmp_path / "a.txt") as scratch:
        scratch.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []
    assert isinstance(said.value, DiskFull) == full


def test_a_program_on_a_full_disk_ends_with_one_line_and_status_1(small_disk):
    body = "from chowder.files import run, write_text\nrun(lambda argv: write_text('big.txt', 'x' * 10**6))"
    result = subprocess.run(
        [sys.executable, "-c", body],
        cwd=small_disk,
        env=os.environ | {"PYTHONPATH": str(LIBRARY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == (
        "error: big.txt: its disk is full: free some space, then run again (nothing half-written was kept)\n"
    )
