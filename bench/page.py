"""docs/performance.md: a section for each benchmark, with its command, its machine and what it printed.

``python -m bench --page [NAME ...]`` runs the named benchmarks (default all of SECTIONS) and writes their sections; the
others stay as they are. A section whose benchmark was never run says so.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
HEAD = """# Performance

Written by `make bench` (one section: `python -m bench --page NAME`); do not edit the tables. Each section shows this
workflow beside the best alternative that was at hand and beside what the machine allows at most. The load is the number
of runnable processes when the measurement began and ended. Where it is above the number of cores, other work took part
of the machine: absolute times are too long, and only ratios within a section mean something.
"""
# name: title, command-line options for the page, what stands beside it, the bound
SECTIONS: dict[str, tuple[str, list[str], str, str]] = {
    "reading": (
        "Reading tiles",
        ["--rounds", "2"],
        "OpenSlide, pyvips and (if installed) tiffslide, one tile at a time, one core",
        "decoding the stored JPEGs alone, from memory",
    ),
    "embedding": (
        "Embedding",
        ["--rounds", "2", "--tiles", "32", "--batch", "8"],
        "a DataLoader over OpenSlide in fp32, as most people write it",
        "the encoder alone on tiles in memory",
    ),
    "training": (
        "Training",
        ["--ratios-only"],
        "a fast plain loop that trains one network (float32 tensors in memory, torch.topk, torch.optim.Adam)",
        "the products of all tiles with all members at the rate of a large float32 product",
    ),
    "table1": (
        "Table 1 through the workflow",
        [],
        "nothing: no other workflow trains these ensembles",
        "the products of all tiles with all members, forwards alone, at 120 GFLOP/s: 8 minutes on two cores",
    ),
    "memory": (
        "Declared memory",
        [],
        "what the jobs of the finished demo took at most",
        "the same",
    ),
    "froc": (
        "FROC",
        [],
        "the loop of the published script, extrapolated by its square growth",
        "the look-up of all detections, which both need (first row)",
    ),
    "resampling": (
        "Intervals",
        [],
        "a loop over scikit-learn's roc_auc_score",
        "fetching the drawn scores once",
    ),
    "start": (
        "Start of the workflow",
        [],
        "an empty Snakefile with as many jobs: there is no other workflow for this to compare with",
        "the same: Snakemake's own time",
    ),
}
MISSING = """
## Not measured
* Anything on a GPU: features resident or streamed, Table 1, embedding with ResNet-50 and a ViT-L. No GPU was at hand.
* Products in bf16 on processors made for it (AVX512-BF16, AMX): the machine has neither. `precision: bf16` is not
  measured there.
"""


def write(name: str, command: str, machine: str, load: tuple[float, float], output: str) -> None:
    """Put what a benchmark printed into its section of the page."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    sections = dict(re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- end -->", page, re.DOTALL))
    title, _, beside, bound = SECTIONS[name]
    cores = os.cpu_count()
    # A Markdown table needs an empty line before it.
    output = re.sub(r"^(?!\|)(.+)\n\|", r"\1\n\n|", output.strip(), flags=re.MULTILINE)
    sections[name] = (
        f"## {title}\n`{command}`\\\n{machine}; load {load[0]:.1f} to {load[1]:.1f} on {cores} cores.\\\n"
        f"Beside it: {beside}.\\\nBound: {bound}.\n\n{output}"
    )
    parts = [HEAD]
    for key, (heading, *_) in SECTIONS.items():
        text = sections.get(key, f"## {heading}\nNot measured yet.")
        parts.append(f"<!-- {key} -->\n{text}\n<!-- end -->\n")
    PAGE.write_text("\n".join(parts) + MISSING, encoding="utf-8")
