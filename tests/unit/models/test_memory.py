"""Declared memory beside the peak of real processes of two sizes: never too little, at most 2.5 times too much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from chowder.models import memory

SCRIPTS = Path(memory.__file__).parents[2]
METHODS = ["meanpool", "weldon_r10", "chowder_r5", "chowder_r100"]


def made(root: Path, slides: int, tiles: int, dim: int) -> None:
    """Feature files of random float16, their index, and the tables beside them."""
    block = np.random.default_rng(0).random((tiles, dim), dtype=np.float32).astype(np.float16)
    lines, rows, entries = ["slide,label,split"], ["slide,split,tiles,sampled"], []
    for i in range(slides):
        split = "test" if i < 2 else "train"
        with h5py.File(root / f"s{i}.h5", "w") as handle:
            handle["features"] = block
        lines.append(f"s{i},{i % 2},{split}")
        rows.append(f"s{i},{split},{tiles},{tiles - 10}")
        entries.append({"slide": f"s{i}", "file": f"s{i}.h5", "tiles": tiles, "sha256": ""})
    (root / "slides.csv").write_text("\n".join(lines) + "\n")
    (root / "summary.csv").write_text("\n".join(rows) + "\n")
    (root / "index.json").write_text(json.dumps({"encoder": "e", "dim": dim, "slides": entries}))
    sides = {"train": [f"s{i}" for i in range(2, slides)], "test": ["s0", "s1"]}
    (root / "splits.json").write_text(json.dumps({"competition": sides}))


def peak(code: str) -> float:
    """MB that a Python process took at its highest.

    Not by ``getrusage``: its value starts at that of the process which started this one.
    """
    code = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n{code}"
    code += "\nprint(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(result.stdout.split()[-1]) * 1024 / 1e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("slides", "tiles", "dim"), [(8, 400, 256), (12, 8000, 2048)])  # 2 MB, 393 MB
def test_declared_memory_covers_the_peak_and_is_not_far_above(tmp_path, slides, tiles, dim):
    made(tmp_path, slides, tiles, dim)
    sampled, counts = memory.of_summary(tmp_path / "summary.csv")
    assert (sampled, counts) == ((tiles - 10,) * slides, (tiles,) * slides)
    assert memory.of_index(tmp_path / "index.json") == (dim, counts)
    files = f"{str(tmp_path / 'index.json')!r}, {str(tmp_path / 'summary.csv')!r}"
    read = f"from chowder.features.bags import Bags\nbags = Bags.from_index({files})\n"
    train = (
        f"{read}from chowder.models import build, names\nmethods = [names.parse(m) for m in {METHODS!r}]\n"
        f"y = [i % 2 for i in range({slides})]\nsettings = {{'training': {{'members': 10, 'epochs': 1}}}}\n"
        "build.predict_together(build.fit(methods, bags, y, settings, ()), bags)\n"
    )
    pool = f"{read}from chowder.models import splits\nimport sklearn.linear_model\nbags.pooled('mean')\n"
    score = (
        "from chowder.models.estimators import Chowder\nimport numpy as np, json, pyarrow.parquet\n"
        f"from chowder.features.bags import read_entry, read_index\nindex = {str(tmp_path / 'index.json')!r}\n"
        "dim, entries = read_index(index)\nx, _ = read_entry(index, entries['s0'], dim)\n"
        "Chowder(r=5, epochs=1).fit([x[:20], x[20:40]], [0, 1]).instance_scores(x)\n"
    )
    declared = {
        train: memory.train(sampled, counts, dim, METHODS, 10),
        pool: memory.split_bias(sampled, counts, dim),
        score: memory.localise(counts, dim, 10),
    }
    taken = [peak(code) for code in declared]
    for one, megabytes in zip(taken, declared.values(), strict=True):
        assert one <= megabytes <= 2.5 * one, (taken, list(declared.values()))


def test_table_1_at_full_size_fits_in_12_gb_and_one_method_more_costs_little():
    tiles = [5000] * 399
    methods = ["meanpool", "maxpool", *(f"weldon_r{r}" for r in (1, 10, 100, 300))]
    methods += [f"chowder_r{r}" for r in (1, 5, 10, 100, 300)]
    everything = memory.train(tiles, tiles, 2048, methods, 10)
    assert 8172 * 1.1 < everything < 12000  # the features alone take 8,172 MB
    assert 0 < everything - memory.train(tiles, tiles, 2048, methods[:-1], 10) < 200
    assert memory.train(tiles, tiles, 2048, ["chowder_r5", "chowder_r5_s2"], 10) > 1.8 * everything
    assert memory.split_bias(tiles, tiles, 2048) < everything


def test_files_that_are_not_there_yet_are_left_to_snakemake_and_tries_ask_for_more(tmp_path):
    for read, name in ((memory.of_index, "index.json"), (memory.of_summary, "summary.csv")):
        with pytest.raises(FileNotFoundError) as caught:
            read(tmp_path / name)
        assert caught.value.filename == str(tmp_path / name) or caught.value.filename == tmp_path / name
    assert [memory.raised(1000, attempt) for attempt in (1, 2, 3)] == [1000, 1500, 2250]


def test_features_that_do_not_fit_are_mapped_and_count_with_three_batches():
    tiles, methods = [5000] * 399, ["meanpool", "chowder_r5"]
    needed = memory.train(tiles, tiles, 2048, methods, 10)
    assert memory.in_memory(needed, needed) == float("inf")
    limit = memory.in_memory(needed, needed - 1)
    mapped = memory.train(tiles, tiles, 2048, methods, 10, in_memory=limit)
    # 8,172 MB less, and 3 x 16 slides x 20.5 MB more
    assert needed - mapped == pytest.approx(1.1 * (8172 - 3 * 16 * 20.48), abs=2)
    assert mapped < 6000 and memory.split_bias(tiles, tiles, 2048, in_memory=limit) < 6000
    small = [100] * 399  # results must not depend on the memory: what is packed elsewhere is packed here
    assert memory.train(small, small, 2048, methods, 10, in_memory=memory.in_memory(9e9, 1)) == memory.train(
        small, small, 2048, methods, 10
    )
