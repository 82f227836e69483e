"""Faults on purpose: kills at every stage, full and read-only disks, damaged files. One command, a table as output.

    python -m tests.faults                     everything: an hour and more on 2 cores; root for the full disks
    python -m tests.faults kills --stages embed
    python -m tests.faults --write             also puts the table into docs/operations.md

Each case starts from a finished tiny run, loses the results of one stage, meets the fault, and is run again as a user
would: the same command, nothing unlocked or removed by hand, but for what the error says. Good means: the results are
then those of the undisturbed run (figures and seconds aside, byte for byte), no process and no scratch file is left,
and where the fault can't be overcome there is one line that names the file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")]
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

from chowder.files import SCRATCH  # noqa: E402
from faults.machine import TARGETS, Machine, Row, kill, kill_session, one_line, traceback_in, wait_until  # noqa: E402

# stage: its results, in the order of the data. The program has the name of the stage.
STAGES = {
    "simulate": ["slides", "annotations"],
    "tissue": ["tissue", "previews"],
    "tiles": ["tiles/*.parquet"],
    "embed": ["features"],
    "index_features": ["features/*/index.json", "features/*/*.h5"],
    "splits": ["splits.json"],
    "train": ["models", "predictions", "curves"],
    "localise": ["tile_scores", "detections"],
    "lesions": ["lesions"],
    "evaluate": ["metrics"],
    "tests_table": ["tests.csv"],
    "benchmark_table": ["benchmark.*"],
    "figure_heatmap": ["figures/heatmap*"],
}
LAST = ["metrics.*", "matrix.csv", "figures", "split_bias", "ensemble_size", "*.html"]
DELAYS = (0.1, 0.6, 1.5)  # seconds after a program has begun
BEGIN, END = "<!-- faults -->", "<!-- end of faults -->"


def lost(stage: str) -> list[str]:
    """Return the results of a stage and of all that come after it: the state of a run that got no further."""
    names = list(STAGES)
    return [pattern for name in names[names.index(stage) :] for pattern in STAGES[name]] + LAST


def timed(case: Callable[[], Row]) -> Row:
    """Run a case and note its seconds; one that ends otherwise than thought of is a bad row."""
    started = time.perf_counter()
    try:
        row = case()
    except AssertionError as error:
        row = Row(case.__doc__ or "", "", str(error).replace("\n", " ")[-300:], good=False)
    row.seconds = time.perf_counter() - started
    print(row, flush=True)
    return row


def finish(machine: Machine, row: Row) -> Row:
    """Run to the end, and say whether the results are those of the undisturbed run."""
    output = machine.begin(*TARGETS)
    text = output.communicate()[0]
    if output.returncode:
        row.outcome, row.good = f"the next run failed: {text[-200:]!r}", False
        return row
    wrong = machine.differences()
    row.outcome, row.good = (row.outcome + (wrong or "equal")), row.good and not wrong
    return row


def killed(machine: Machine, stage: str, whoms: tuple[str, ...], delays: tuple[float, ...]) -> Row:
    """Kill a stage's job, then Snakemake, then all of it, some time after it has begun or in a write.

    Each stroke meets the run that goes on after the one before it, started by the same command.
    """
    machine.restore()
    machine.delete(lost(stage))
    row = Row(f"kill -9 of {', '.join(whoms)}", stage, "", good=True)
    strokes = 0
    for whom, delay in ((whom, delay) for delay in delays for whom in whoms):
        running = machine.begin(*TARGETS)
        found = wait_until(lambda running=running: machine.program(stage) or running.poll() is not None, 60)
        if not found or running.poll() is not None:
            running.communicate()
            break
        if delay < 0:
            wait_until(lambda: in_a_write(machine, stage) or not machine.program(stage), 20)
        else:
            time.sleep(delay)
        strokes += 1
        if whom == "the job":
            kill(machine.program(stage))
        elif whom == "Snakemake":
            kill([running.pid])
        else:
            kill_session(running)
        running.communicate()
        if not wait_until(lambda: not machine.programs(), 15):
            left = machine.programs()
            row.outcome, row.good = f"{len(left)} processes still run after 15 s; ", False
            kill(left)
    row.where += f", {strokes} times"
    return finish(machine, row)


def in_a_write(machine: Machine, stage: str) -> bool:
    """Whether a scratch file lies in one of the folders of a stage's results."""
    folders = {machine.results / pattern.partition("/")[0].partition(".")[0] for pattern in STAGES[stage]}
    tops = [folder if folder.is_dir() else machine.results for folder in folders]
    return any(SCRATCH.fullmatch(name) for top in set(tops) for _, _, names in os.walk(top) for name in names)


def full_disk(machine: Machine, stage: str) -> Row:
    """Let the disk be full when a stage writes."""
    machine.restore()
    machine.delete(lost(stage))
    machine.resize(machine.used_kb() + 24)
    row = Row("disk full", stage, "", good=True)
    try:
        output = machine.run(*TARGETS, fails=True)
    finally:
        machine.resize(machine.size_mb * 1024)
    line = one_line(output, ["No space left"]) or one_line(output, ["full"])
    row.outcome = f"`{line[-110:]}`; then " if line else "no line that says so; then "
    row.good = bool(line) and not traceback_in(output)
    return finish(machine, row)


def read_only(machine: Machine) -> Row:
    """Let nothing be written to the results."""
    machine.restore()
    machine.delete(lost("tiles"))
    machine.read_only()
    try:
        output = machine.run(*TARGETS, fails=True)
    finally:
        machine.resize(machine.size_mb * 1024)
    line = next((line for line in output.splitlines() if "cannot be written to" in line), "")
    return finish(machine, Row("results read-only", "tiles", f"`{line[-110:]}`; then ", bool(line)))


def damaged_features(machine: Machine, change: str) -> Row:
    """Damage features with their old time stamp, and do what the error says until it works."""
    import h5py
    import numpy as np

    machine.restore()
    machine.delete(lost("train"))
    path = next((machine.results / "features").glob("*/tumor_001.h5"))
    os.chmod(path, 0o644)
    stamp = path.stat()
    if change == "removed":
        path.unlink()
    elif change == "cut":
        os.truncate(path, stamp.st_size // 2)
    else:
        with h5py.File(path, "r+") as handle:
            handle["features"][:2] = 1 if change == "altered" else np.nan
    if path.exists():
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    row = Row(f"features {change}", "train", "", good=True)
    for _ in range(4):
        running = machine.begin(*TARGETS)
        output = running.communicate()[0]
        if not running.returncode:
            break
        line = one_line(output, ["tumor_001"])
        commands = set(re.findall(r"run '(rm -f [^']*)', then", output))
        row.outcome = f"`{line[-110:]}`; done as it says: "
        if not commands:
            row.good = False
            break
        for command in commands:
            subprocess.run(shlex.split(command), cwd=machine.folder, check=True)
    return finish(machine, row)


def damaged_result(machine: Machine, name: str, stage: str) -> Row:
    """Overwrite a result that a later stage reads, which is lost; remove it when the error names it."""
    machine.restore()
    machine.delete(lost(stage))
    path = next(iter(sorted(machine.results.glob(name))))
    path.write_bytes(b"garbage")
    row = Row(f"`{name}` overwritten", stage, "", good=True)
    running = machine.begin(*TARGETS)
    output = running.communicate()[0]
    if running.returncode:
        line = one_line(output, [path.name])
        row.outcome, row.good = f"`{line[-110:]}`; removed: ", bool(line) and not traceback_in(output)
        path.unlink()
    return finish(machine, row)


def damaged_slide(machine: Machine, change: str) -> Row:
    """Replace a slide of one's own by something else: the error names it. Put it back, and it is embedded."""
    root = machine.folder.parent / f"own-{change.replace(' ', '-')}"
    (root / "images").mkdir(parents=True)
    names = ("normal_001", "tumor_001", "normal_002", "tumor_002")
    for name in names:
        shutil.copy(machine.copy / "disk" / "slides" / f"{name}.tif", root / "images")
    (root / "slides.csv").write_text("slide,label\n" + "".join(f"{n},{n.partition('_')[0]}\n" for n in names))
    path = root / "images" / "tumor_001.tif"
    whole = path.read_bytes()
    path.unlink()
    if change == "directory":
        path.mkdir()
    elif change == "damaged inside":  # zeros over most tiles of level 1, which is read; its directory stays
        first, last = len(whole) * 68 // 100, len(whole) * 86 // 100
        path.write_bytes(whole[:first] + bytes(last - first) + whole[last:])
    else:
        path.write_bytes({"garbage": os.urandom(50_000), "empty": b"", "truncated": whole[: len(whole) // 3]}[change])
    overlay = json.loads(machine.overlay.read_text())
    source = {"source": "table", "table": str(root / "slides.csv"), "root": str(root), "image": "images/{slide}.tif"}
    machine.overlay.write_text(
        json.dumps(overlay | {"dataset": "own", "slides": source, "figures": {"heatmaps": []}, "cv": {"folds": 2}})
    )
    row = Row(f"slide {change}", "tissue, embed", "", good=True)
    try:
        output = machine.run("features", "--keep-going", fails=True)
        line = one_line(output, ["tumor_001"])
        row.outcome, row.good = f"`{line[-110:]}`; ", bool(line) and not traceback_in(output)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.write_bytes(whole)
        machine.run("features")
        row.outcome += "put back: embedded"
    finally:
        machine.overlay.write_text(json.dumps(overlay))
        shutil.rmtree(machine.disk / "own", ignore_errors=True)
    return row


def clock_set_back(machine: Machine) -> Row:
    """Results come from the future, as after a clock was set back: do what the error says."""
    machine.restore()
    future = time.time() + 7200
    for path in [p for p in machine.results.rglob("*") if p.is_file()]:
        os.utime(path, (future, future))
    machine.delete(lost("evaluate"))
    line = one_line(machine.run(*TARGETS, fails=True), ["date lies in the future"])
    said = line.replace("`", "")[-110:]
    row = Row("clock set back two hours", "evaluate", f"`{said}`; done as it says: ", bool(line))
    if line:
        subprocess.run(re.search("`(find.*)`", line)[1], shell=True, check=True, cwd=machine.folder)
    return finish(machine, row)


def two_snakemakes(machine: Machine) -> Row:
    """Start a second Snakemake while one runs."""
    machine.restore()
    machine.delete(lost("embed"))
    first = machine.begin(*TARGETS)
    wait_until(lambda: machine.program("embed"), 60)
    output = machine.run(*TARGETS, fails=True)
    line = next((line for line in output.splitlines() if "locked" in line), "")
    first.communicate()
    good = bool(line) and first.returncode == 0
    return finish(machine, Row("two Snakemakes", "embed", f"`{line[:110]}`; the first goes on: ", good))


def config_changed(machine: Machine) -> Row:
    """Change the config while it runs: the run ends as it began, the next one computes what the change asks for."""
    machine.restore()
    machine.delete(lost("embed"))
    overlay = machine.overlay.read_text()
    running = machine.begin(*TARGETS)
    wait_until(lambda: machine.program("embed"), 60)
    machine.overlay.write_text(json.dumps(json.loads(overlay) | {"evaluation": {"bootstrap": 150}}))
    running.communicate()
    as_before = not machine.differences()
    machine.run(*TARGETS)
    changed = bool(machine.differences())
    machine.overlay.write_text(overlay)
    row = Row("config changed while it runs", "embed", "", good=as_before and changed and running.returncode == 0)
    return finish(machine, row)


def code_changed(machine: Machine) -> Row:
    """Change a program while it runs, and change it back: the next runs notice both."""
    machine.restore()
    machine.delete(lost("embed"))
    program = machine.folder / "workflow" / "scripts" / "splits.py"
    text = program.read_text()
    running = machine.begin(*TARGETS)
    wait_until(lambda: machine.program("embed"), 60)
    program.write_text(text + "\nUNUSED = 1\n")
    running.communicate()
    planned = machine.run("-n", *TARGETS)
    program.write_text(text)
    row = Row("code changed while it runs", "splits", "the next run plans it; ", "splits" in planned)
    return finish(machine, row)


def cases(machine: Machine, args: argparse.Namespace) -> Iterator[Callable[[], Row]]:
    """Yield all cases of the kinds that were asked for."""
    stages = args.stages or list(STAGES)
    delays = DELAYS[: args.delays]
    if "kills" in args.kinds:
        whoms = ("the job", "Snakemake", "the whole group")
        for stage in stages:
            yield lambda stage=stage: killed(machine, stage, whoms, delays)
        for stage in [s for s in ("simulate", "embed", "train", "localise") if s in stages]:
            yield lambda stage=stage: killed(machine, stage, ("the whole group in a write",), (-1.0,))
    if "disk" in args.kinds and machine.mounted:
        for stage in stages:
            yield lambda stage=stage: full_disk(machine, stage)
        yield lambda: read_only(machine)
    if "damage" in args.kinds:
        for change in ("garbage", "directory", "empty", "truncated", "damaged inside"):
            yield lambda change=change: damaged_slide(machine, change)
        for change in ("cut", "altered", "NaN", "removed"):
            yield lambda change=change: damaged_features(machine, change)
        damage = {
            "tissue/*.json": "tiles",
            "tiles/*.parquet": "embed",
            "features/*/index.json": "train",
            "splits.json": "train",
            "models/*/*/competition.pt": "localise",
            "predictions/*/*/competition.csv": "evaluate",
            "detections/*/*/*.csv": "evaluate",
            "tests.csv": "benchmark_table",
        }
        for name, stage in damage.items():
            yield lambda name=name, stage=stage: damaged_result(machine, name, stage)
    if "runs" in args.kinds:
        for case in (clock_set_back, two_snakemakes, config_changed, code_changed):
            yield lambda case=case: case(machine)


def write(rows: list[Row], head: str) -> None:
    """Put the table into docs/operations.md."""
    page = ROOT / "docs" / "operations.md"
    text = page.read_text(encoding="utf-8")
    table = "\n".join([BEGIN, head, "", "| fault | stage | what came of it | good | s |", "|---|---|---|---|---|"])
    table += "\n" + "\n".join(map(str, rows)) + f"\n{END}"
    page.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help="kills disk damage runs (default: all)")
    parser.add_argument("--stages", nargs="+", choices=list(STAGES))
    parser.add_argument("--delays", type=int, default=3, choices=(1, 2, 3), help="kills of each stage")
    parser.add_argument("--write", action="store_true", help="put the table into docs/operations.md")
    args = parser.parse_args()
    args.kinds = args.kinds or ["kills", "disk", "damage", "runs"]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        machine = Machine(Path(folder))
        try:
            rows = [timed(case) for case in cases(machine, args)]
        finally:
            machine.close()
    minutes = (time.perf_counter() - started) / 60
    good = sum(row.good for row in rows)
    root = "" if machine.mounted else "; full disks were not tried: only root can mount one"
    head = (
        f"`python -m tests.faults`: {good} of {len(rows)} good, {minutes:.0f} minutes on {os.cpu_count()} cores{root}."
    )
    print(head)
    if args.write:
        write(rows, head)
    return int(good < len(rows))


if __name__ == "__main__":
    sys.exit(main())
