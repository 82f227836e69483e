"""Files appear whole or not at all; a user's mistake is one line and exit status 1; seeds depend on their key alone."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from chowder import files, seeds

LIBRARY = Path(files.__file__).parents[1]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.csv"
    files.write_text(target, "old")
    with pytest.raises(ValueError, match="stop"), files.atomic(target) as scratch:
        scratch.write_text("half")
        raise ValueError("stop")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_the_scratch_file_has_the_same_suffix_and_folder(tmp_path):
    with files.atomic(tmp_path / "new" / "b.tar.png") as scratch:
        assert scratch.suffix == ".png"
        assert scratch.parent == tmp_path / "new"
        assert not (tmp_path / "new" / "b.tar.png").exists()
        scratch.write_bytes(b"x")
    assert (tmp_path / "new" / "b.tar.png").read_bytes() == b"x"


def test_a_hard_link_to_the_file_that_is_there_leaves_no_scratch(tmp_path):
    (tmp_path / "store.h5").write_bytes(b"features")
    for _ in range(2):
        with files.atomic(tmp_path / "a.h5") as scratch:
            scratch.hardlink_to(tmp_path / "store.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "store.h5"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), files.atomic(tmp_path / "c.txt"):
        pass


def test_sha256_is_that_of_hashlib(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "d").write_bytes(content)
    assert files.sha256(tmp_path / "d") == hashlib.sha256(content).hexdigest()


def run_program(body):
    code = f"from chowder.files import UserError, run\ndef main(argv):\n    {body}\nrun(main)\n"
    return subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, capture_output=True, text=True, check=False)


def test_a_users_mistake_is_one_line_and_status_1():
    result = run_program("raise UserError('slides.csv, line 3: label is wrong')")
    assert result.returncode == 1
    assert result.stderr == "error: slides.csv, line 3: label is wrong\n"


def test_a_full_disk_is_one_line_and_status_1():
    result = run_program("raise OSError(28, 'No space left on device', '/x/y.h5')")
    assert result.returncode == 1
    assert result.stderr.startswith("error: /x/y.h5: No space left on device")
    assert result.stderr.count("\n") == 1


def test_a_bug_keeps_its_traceback():
    result = run_program("raise KeyError('bug')")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_seeds_differ_by_every_part_of_the_key_and_by_type():
    keys = [
        (1, "demo", "a"),
        (2, "demo", "a"),
        (1, "real", "a"),
        (1, "demo", "b"),
        (1, "dem", "oa"),
        ("1", "demo", "a"),
    ]
    assert len({seeds.seed_of(*key) for key in keys}) == len(keys)
    assert all(0 <= seeds.seed_of(*key) < 2**63 for key in keys)


def test_seeds_are_the_same_everywhere():
    digest = hashlib.sha256(b"int:1802\x1fstr:demo").digest()
    assert seeds.seed_of(1802, "demo") == int.from_bytes(digest[:8], "big") // 2
    assert np.array_equal(seeds.generator(7).integers(0, 99, 5), seeds.generator(7).integers(0, 99, 5))


def test_two_processes_that_write_the_same_file_do_not_mix(tmp_path):
    """Each writes its own letter slowly; whichever is last, the file holds one letter only."""
    code = (
        "import sys, time\nfrom chowder.files import atomic\nwith atomic(sys.argv[1]) as scratch, "
        "open(scratch, 'w') as handle:\n    for _ in range(20):\n        handle.write(sys.argv[2] * 1000)\n"
        "        handle.flush()\n        time.sleep(0.01)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "a.txt", c], cwd=LIBRARY) for c in "xyz"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert set((tmp_path / "a.txt").read_text()) < set("xyz")
    text = (tmp_path / "a.txt").read_text()
    assert len(text) == 20000 and len(set(text)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_kill_left_goes_with_the_next_write_and_nothing_else(tmp_path, monkeypatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, old, week = files._host(), time.time() - 8 * 86400, files.WEEK_S
    names = {
        f".a.{here}-{dead.pid}.partial.h5": False,
        f".a.b.{here}-{dead.pid}.partial": False,
        f".a.{here}-{os.getppid()}.partial.h5": True,  # its writer runs
        f".a.00000000-{dead.pid}.partial.h5": True,  # of another machine, and new
        f".a.00000000-{dead.pid + 1}.partial.h5": False,  # likewise, but old
        f"a.{here}-{dead.pid}.partial.h5": True,  # not hidden: not ours
        ".a.partial.h5": True,
    }
    assert old < time.time() - week
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / f".a.00000000-{dead.pid + 1}.partial.h5", (old, old))
    files.sweep.cache_clear()
    files.write_text(tmp_path / "other.txt", "x")
    assert {path.name for path in tmp_path.iterdir()} == {name for name, stays in names.items() if stays} | {
        "other.txt"
    }


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_job_ends_soon_after_its_snakemake_and_leaves_no_scratch(tmp_path):
    """A program named snakemake starts a job as Snakemake does, by a shell, and is killed."""
    job = (
        "import time\nfrom chowder.files import atomic, run\ndef main(argv):\n"
        f"    with atomic({str(tmp_path / 'out' / 'a.txt')!r}) as scratch:\n        scratch.write_text('half')\n"
        "        time.sleep(60)\nrun(main)\n"
    )
    (tmp_path / "job.py").write_text(job)
    command = f"set -euo pipefail; {sys.executable} {tmp_path / 'job.py'} 2> {tmp_path / 'log'}; echo done"
    (tmp_path / "snakemake").write_text(f"import subprocess\nsubprocess.run(['bash', '-c', {command!r}])\n")
    environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
    caller = subprocess.Popen([sys.executable, str(tmp_path / "snakemake")], env=environment)
    wait_until(lambda: list((tmp_path / "out").glob(".a.*.partial.txt")))
    os.kill(caller.pid, signal.SIGKILL)
    caller.wait()
    wait_until(lambda: not list((tmp_path / "out").iterdir()))
    wait_until(lambda: "has ended, so it ends too" in (tmp_path / "log").read_text())


def wait_until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_the_advice_to_load_a_pickle_unsafely_is_not_passed_on(tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "m.pt").write_bytes(b"garbage")
    with pytest.raises(Exception, match="weights_only") as caught:
        torch.load(tmp_path / "m.pt", weights_only=True)
    assert files.reason(caught.value) == "no file of torch.save, or one that holds more than tensors, numbers and text"
