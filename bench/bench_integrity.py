"""What it costs to check features when they are read: slides of 5,000 tiles x 2,048 features, from the page cache.

Ways take turns, round by round; processor time is compared, because other jobs on the machine do not count in it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from chowder.features import bags, feature_file, integrity


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=6)
    parser.add_argument("--tiles", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(argv)
    rng = np.random.default_rng(1802)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"s{number}.h5" for number in range(args.slides)]
        for path in paths:
            values = np.abs(rng.normal(0, 0.5, (args.tiles, 2048)))
            feature_file.write(path, values, rng.integers(0, 99_999, (args.tiles, 2)), {"slide": path.stem})
        record, _ = feature_file.index(paths, folder)
        index, entries, dim = Path(folder) / "index.json", record["slides"], record["dim"]
        out = np.zeros((args.tiles, dim), np.float16)
        plain = [{key: entry[key] for key in ("slide", "file", "tiles")} for entry in entries]

        def unchecked(entry: dict) -> None:
            bags._arrays(Path(folder) / entry["file"], entry["slide"], (args.tiles, dim), out)

        def read(known: list[dict]):
            return lambda place: bags.read_entry(index, known[place], dim, None, out)

        def whole_file(algorithm):
            return lambda place: algorithm(paths[place].read_bytes())

        ways = {
            "read, nothing checked": lambda place: unchecked(entries[place]),
            "read, NaN looked for (before)": read(plain),
            "read, digest compared (now)": read(entries),
            "digest alone": lambda place: integrity.digest(out, np.zeros((args.tiles, 2), np.int32)),
            "sha256 of the file alone": whole_file(lambda data: hashlib.sha256(data).digest()),
            "crc32 of the file alone": whole_file(zlib.crc32),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(args.rounds * args.slides):
            for name, way in ways.items():
                started = time.process_time()
                way(turn % args.slides)
                seconds[name].append(time.process_time() - started)
    print("| per slide | ms of processor time (median) | fastest |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {1e3 * np.median(values):.1f} | {1e3 * min(values):.1f} |")


if __name__ == "__main__":
    main()
