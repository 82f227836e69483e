"""Look at this machine and the config: can the run work? One line each: ok, warning, wrong and what to do.

python workflow/scripts/doctor.py --configfile config/camelyon16.yaml
Exit status 1 when something is wrong. `snakemake doctor` is the same with the config as Snakemake has merged it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from chowder.doctor.case import WRONG, Case, wrong
from chowder.doctor.examination import examine, shown
from chowder.files import UserError, reason

HOME = Path(__file__).resolve().parents[2]


def merged(base: dict, overlay: dict) -> dict:
    """As Snakemake merges a second config file: sections key by key, everything else replaced."""
    result = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def read(path: Path) -> dict:
    """Return the content of a config file."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({reason(error)}): correct it") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no keys: write key: value, as in config/config.yaml")
    return content


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--configfile", type=Path, nargs="*", default=[], help="as for Snakemake, over config/config.yaml"
    )
    parser.add_argument("--config", type=json.loads, help="JSON: the whole config, in place of files")
    parser.add_argument("--directory", type=Path, default=Path(), help="where Snakemake is started")
    parser.add_argument("--json", action="store_true", help="print a list of topic, state, found, todo")
    args = parser.parse_args(argv)

    case, first = Case(HOME, args.directory, args.config or {}), []
    if args.config is None:
        own = args.directory / "config" / "config.yaml"
        for path in (own if own.is_file() else HOME / "config" / "config.yaml", *args.configfile):
            try:
                case.config = merged(case.config, read(path))
            except UserError as error:
                first.append(wrong("config", error))
    lines = first + examine(case)
    print(json.dumps([dataclasses.asdict(line) for line in lines], indent=1) if args.json else shown(lines))
    if any(line.state == WRONG for line in lines):
        sys.exit(1)


if __name__ == "__main__":
    main()  # not run(main): its lines go to a screen, not to the log of a job
