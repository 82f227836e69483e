"""One self-contained HTML: table, figures with captions, warnings in one place, config and versions."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from chowder import summary, table
from chowder.files import run, write_text


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="benchmark.html")
    parser.add_argument("--figures", type=Path, nargs="*", default=[], help="figures/*.png, in the order wanted")
    parser.add_argument("--captions", type=Path, help="folder of the captions, workflow/report")
    parser.add_argument("--records", type=Path, nargs="*", default=[], help="tissue/<slide>.json, for their warnings")
    parser.add_argument("--annotations", type=Path, nargs="*", default=[], help="annotations/<slide>.xml, likewise")
    parser.add_argument("--config", type=Path, help="results/<dataset>/config.yaml: the config of the run")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: dataset, simulated")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)

    config = summary.read_config(args.config) if args.config else {}
    parts = [
        ("Table", summary.table_of(args.table)),
        ("Figures", summary.figures_of(args.figures, args.captions, config)),
        ("Warnings", summary.warnings_of(args.records, args.annotations)),
        ("Config", summary.config_of(config)),
        ("Versions", summary.versions()),
    ]
    dataset = str(args.settings.get("dataset", ""))
    title = f"CHOWDER on {dataset}" + (f" – {table.SIMULATED}" if args.settings.get("simulated") else "")
    write_text(args.output, summary.page(title, parts))


if __name__ == "__main__":
    run(main)
