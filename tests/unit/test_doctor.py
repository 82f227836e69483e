"""The doctor on a healthy set-up and on sick ones: what is wrong, on the right line, with what to do."""

from __future__ import annotations

import copy
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from slide_fixtures import generic

from chowder import preflight
from chowder.doctor import examination, machine, material
from chowder.doctor.case import OK, SKIPPED, WARNING, WRONG, Case, Line, wrong
from chowder.files import UserError

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "workflow" / "scripts" / "doctor.py"
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def case(folder: Path, **changes) -> Case:
    """The demo's config with other values, as ``slides={"source": "table"}``, seen from ``folder``."""
    config = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        config[key] = config.get(key) | value if isinstance(value, dict) else value
    return Case(ROOT, folder, config)


def own_slides(folder: Path) -> dict:
    """Six small slides with a table, as the section slides of a config."""
    rows = ["slide,label,mpp"]
    for number in range(6):
        generic(folder / f"s{number}.tif", 300, 200, 1, seed=number)
        rows.append(f"s{number},{number % 2},0.25")
    (folder / "slides.csv").write_text("\n".join(rows))
    return {"source": "table", "table": "{root}/slides.csv", "root": ".", "image": "{slide}.tif"}


def by_topic(lines: list[Line]) -> dict[str, Line]:
    """The line of every topic; the worst where there are several."""
    worst = {OK: 0, SKIPPED: 1, WARNING: 2, WRONG: 3}
    found: dict[str, Line] = {}
    for line in sorted(lines, key=lambda one: worst[one.state]):
        found[line.topic] = line
    return found


def test_a_healthy_setup_is_ok_in_every_line_and_in_time(tmp_path):
    started = time.monotonic()
    lines = examination.examine(case(tmp_path, slides=own_slides(tmp_path)))
    assert time.monotonic() - started < 5
    found = by_topic(lines)
    assert list(dict.fromkeys(line.topic for line in lines)) == [
        *["config", *examination.LOOKS][:5],
        "memory",
        "gpu",
        "disk",
        "source",
        "weights",
        "slides",
        "locks",
    ]
    bad = {line for line in lines if line.state != OK and line.topic not in ("packages", "memory", "cpu")}
    assert not bad, "the other three depend on the machine"
    assert found["slides"].found == "3 of 6 opened, um/px 0.25"
    assert "sha256 as it should be" in found["weights"].found
    text = examination.shown(lines)
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 120


def test_sick_a_wrong_key_is_told_and_what_depends_on_it_is_skipped(tmp_path):
    found = by_topic(examination.examine(case(tmp_path, tiles={"sze": 3})))
    assert found["config"] == Line("config", WRONG, "unknown key tiles.sze", "did you mean size?")
    assert {topic for topic, line in found.items() if line.state == SKIPPED} == {
        topic for topic, (_, needs_config) in examination.LOOKS.items() if needs_config
    }
    assert found["python"].state == OK


def test_sick_a_slide_that_is_garbage(tmp_path):
    slides = own_slides(tmp_path)
    (tmp_path / "s0.tif").write_bytes(b"garbage" * 1000)
    line = by_topic(examination.examine(case(tmp_path, slides=slides)))["slides"]
    assert line.state == WRONG
    assert "s0.tif" in line.found
    assert "fetch it again" in line.todo


def test_sick_a_slide_that_is_missing_is_told_by_the_table(tmp_path):
    slides = own_slides(tmp_path)
    (tmp_path / "s3.tif").unlink()
    line = by_topic(examination.examine(case(tmp_path, slides=slides)))["config"]
    assert line.state == WRONG
    assert "line 5: slide s3" in line.found


def test_sick_too_little_disk(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(preflight, "unreachable", lambda url, timeout: "")
    slides = {"source": "camelyon16", "table": "config/camelyon16.csv", "keep": True}
    line = by_topic(examination.examine(case(tmp_path, slides=slides, figures={"heatmaps": []})))["disk"]
    assert line.state == WRONG
    assert line.todo == "set slides.keep: false"
    streamed = case(tmp_path, slides=slides | {"keep": False, "at_once": 4}, figures={"heatmaps": []})
    assert float(by_topic(examination.examine(streamed))["disk"].found.split("about ")[1].split()[0]) < 50


def test_sick_no_server(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        base = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        slides = {"source": "camelyon16", "table": "config/camelyon16.csv", "keep": False}
        started = time.monotonic()
        lines = examination.examine(case(tmp_path, slides=slides, download={"base_url": base}))
        assert time.monotonic() - started < 5
    line = by_topic(lines)["source"]
    assert line.state == WRONG
    assert base in line.found
    assert "set download.base_url" in line.todo


@pytest.mark.parametrize("how", ["corrupt", "absent"])
def test_sick_weights(tmp_path, monkeypatch, how):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(preflight, "torchvision_tags", lambda _: {"IMAGENET1K_V1": "http://127.0.0.1:9/r-0676ba61.pth"})
    if how == "corrupt":
        path = tmp_path / "hub" / "checkpoints" / "r-0676ba61.pth"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    line = by_topic(examination.examine(case(tmp_path, encoders=["resnet50"])))["weights"]
    assert line.state == WRONG
    if how == "corrupt":
        assert "is corrupt" in line.found
        assert line.todo == "delete the file"
    else:
        assert "encoders: resnet50: its weights are neither in the cache nor to be fetched" in line.found
        assert "embedding.weights" in line.todo


def test_sick_packages(tmp_path, monkeypatch):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "requirements.in").write_text("numpy\nno-such-package==1\n# development\nno-such-linter\n")
    lock = "numpy==0.0.1 \\\n    --hash=sha256:00\nno-such-linter==2 \\\n    --hash=sha256:00\n"
    (tmp_path / "envs" / "requirements.lock").write_text(lock)
    here = Case(tmp_path, tmp_path, CONFIG)
    (line,) = machine.packages(here)
    assert line.state == WARNING
    assert "numpy" in line.found
    assert "for 0.0.1" in line.found
    (tmp_path / "envs" / "requirements.lock").write_text(lock + "no-such-package==1 ; python_version >= '3'\n")
    (line,) = machine.packages(here)
    assert (line.state, line.found) == (WRONG, "missing: no-such-package")


def test_the_lock_is_read_with_its_markers():
    text = "a==1 \\\n    --hash=x\nb.C_d==2 ; sys_platform == 'nowhere' \\\ne==3 ; python_version >= '3' \\\n# f==4\n"
    assert machine.locked(text) == {"a": "1", "e": "3"}
    lock = machine.locked((ROOT / "envs" / "requirements.lock").read_text())
    assert lock["snakemake"] == "9.27.1"
    assert len(lock) > 100


def test_sick_a_lock_that_nobody_holds(tmp_path, monkeypatch):
    (line,) = machine.locks(Case(ROOT, tmp_path, CONFIG))
    assert line.state == OK
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    (tmp_path / ".snakemake" / "locks" / "0.input.lock").touch()
    (line,) = machine.locks(Case(ROOT, tmp_path, CONFIG))
    assert (line.state, line.todo) == (WARNING, "snakemake --unlock")
    with subprocess.Popen(
        [sys.executable, "-c", "input()", "snakemake"], cwd=tmp_path, stdin=subprocess.PIPE
    ) as process:
        try:
            time.sleep(0.2)
            (line,) = machine.locks(Case(ROOT, tmp_path, CONFIG))
        finally:
            process.kill()
    assert line.state == OK
    assert str(process.pid) in line.found


def test_sick_no_gpu_where_one_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = machine.gpu(case(tmp_path, embedding={"device": "cuda"}))
    assert (line.state, line.todo) == (WRONG, "set device: auto")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA X, 570.1, 143771 MiB'\n")
    program.chmod(0o755)
    (line,) = machine.gpu(case(tmp_path, embedding={"device": "cuda"}))
    assert "NVIDIA X, 570.1" in line.found


def test_a_look_that_fails_itself_is_a_warning_not_a_traceback(tmp_path, monkeypatch):
    def broken(_):
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setitem(examination.LOOKS, "cpu", (broken, False))
    line = by_topic(examination.examine(case(tmp_path)))["cpu"]
    assert (line.state, line.found) == (WARNING, "could not be looked at (ZeroDivisionError: oh no)")


def test_an_error_becomes_a_line_with_what_to_do():
    assert wrong("x", UserError("config: a.b: c is d: do e")) == Line("x", WRONG, "a.b: c is d", "do e")
    unknown = wrong("x", UserError("config: unknown key c: known here: a, b"))
    assert unknown == Line("x", WRONG, "unknown key c", "known here: a, b")
    assert wrong("x", UserError("nothing to say")) == Line("x", WRONG, "nothing to say")


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(PROGRAM), *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_program_prints_lines_or_json_and_says_by_its_status_whether_something_is_wrong(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    good = run("--json", cwd=tmp_path)
    assert good.returncode == 0, good.stdout + good.stderr
    lines = json.loads(good.stdout)
    assert {tuple(line) for line in lines} == {("topic", "state", "found", "todo")}
    assert all(line["state"] != WRONG for line in lines)
    (tmp_path / "bad.yaml").write_text("tiles: {size: [\n")
    bad = run("--configfile", "bad.yaml", cwd=tmp_path)
    assert bad.returncode == 1
    assert bad.stdout.startswith("wrong   config    bad.yaml: cannot be read as YAML")
    assert bad.stderr == ""


def test_weights_are_looked_at_only_where_something_is_embedded(tmp_path):
    (line,) = material.weights(case(tmp_path, slides={"source": "features"}))
    assert line.state == OK
