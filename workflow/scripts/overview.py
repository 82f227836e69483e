"""Write index.html, the page to open first: answer, table, curves, warnings, heat maps, figures, how it was made."""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path

from chowder.files import UserError, run, write_text
from chowder.report import paper
from chowder.report.overview import cards, drawings, page, record, slides
from chowder.report.table import gather

LINKS = {
    "report.html": "Snakemake's report: how every file was made",
    "benchmark.html": "whole table",
    "benchmark.csv": "table as CSV",
    "metrics.html": "measures of use",
    "matrix.csv": "encoders and methods as CSV",
    "repeats.html": "repeats",
    "tests.csv": "tests",
    "figures/tissue.pdf": "contact sheet in pages",
    "viewer/index.html": "viewer",
    "config.yaml": "config",
}
MAPS_PER_PAGE, SLIDES_PER_PAGE = 24, 48


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    gather.options(parser)
    parser.add_argument("--results", type=Path, required=True, help="results/<dataset>: where all files of a run are")
    parser.add_argument("--maps", nargs="*", default=[], help="encoder:method whose heat maps are shown")
    parser.add_argument("--annotations", nargs="*", default=[], help="slide=ASAP XML of test slides")
    parser.add_argument("--figures", type=json.loads, default=[], help="JSON: kind, stem and wildcards of each figure")
    parser.add_argument("--captions", type=Path, required=True, help="folder of <kind>.rst")
    parser.add_argument("--config", type=json.loads, default={}, help="JSON: the config of the run")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)

    bench = gather.benchmark(args)
    rows = slides.read_slides(args.slides)
    outlines = {name: Path(path) for name, _, path in (text.partition("=") for text in args.annotations)}
    figures = [
        drawings.Drawing(one["kind"], args.results / "figures" / f"{one['stem']}.png", one["wildcards"])
        for one in args.figures
    ]
    shown = drawings.by_category(figures)
    key = next((one for one in figures if one.kind == "curves"), None)

    def drawn(some: list[drawings.Drawing]) -> str:
        made_of = (drawings.figure(one, args.captions, args.config) for one in some if one is not key)
        return '<div class="figures">' + "\n".join(made_of) + "</div>"

    warnings = slides.warnings_of(args.results, list(rows.index), outlines)
    sections = [("table", "Table", page.table_section(bench))]
    sections += [("curves", "ROC and FROC", drawings.figure(key, args.captions, args.config))] if key else []
    sections += [("warnings", "Warnings", page.warning_list(bench, warnings))]
    sections += [("maps", "Heat maps", maps(args, rows, outlines, figures))] if args.maps else []
    others = "\n".join(
        f"<h3>{escape(name)}</h3>\n{drawn(some)}"
        for name, some in shown.items()
        if name != "Contact sheet" and any(one is not key for one in some)
    )
    sections += [("figures", "Figures", others)] if others else []
    sheet = cards.sheet(
        slides.tissue_cards(args.results, rows),
        slides.ALL_SORTS,
        slides.ALL_KINDS,
        page=SLIDES_PER_PAGE,
        small=True,
    )
    blue = "<p>Every slide with the outline (blue) of the tissue that was found. Slides do not share one scale.</p>"
    sections += [("slides", "All slides", blue + sheet)]
    sections += [("made", "How it was made", made(args))]
    links = [(path, words) for path, words in LINKS.items() if path == "report.html" or (args.results / path).exists()]
    top = page.facts(bench, args.config, args.settings)
    write_text(args.output, page.whole(bench, page.overview(bench, sections, links, top), cards.SCRIPT))


def maps(args: argparse.Namespace, rows, outlines: dict[str, Path], figures: list[drawings.Drawing]) -> str:
    """Return the heat maps of all test slides, for each encoder."""
    test, parts = rows[rows["split"] == "test"], []
    if test.empty:
        raise UserError(f"{args.slides}: no test slide, so there is no heat map: leave --maps out")
    for number, entry in enumerate(args.maps):
        encoder, _, method = entry.rpartition(":")
        own = [one for one in figures if one.wildcards.get("encoder") == encoder]
        made_of = slides.map_cards(
            args.results, encoder, method, test, outlines, own, "slide" if number == 0 else f"slide-{number + 1}"
        )
        sheet = cards.sheet(made_of, slides.MAP_SORTS, slides.MAP_KINDS, page=MAPS_PER_PAGE)
        title = f"<h3>{escape(paper.parse(method).label)}, encoder {escape(encoder)}</h3>"
        text = (
            "<p>All test slides. White to red: score of a tile, from 0 to the highest 0.5 % of all tiles. Black: "
            "annotated lesions; blue, dashed: excluded from the annotation; grey: no score. The error is the distance "
            "of the predicted probability from the label.</p>"
        )
        parts.append(title + text + sheet)
    if not (args.results / "viewer/index.html").exists():
        parts.append(
            "<p>After <code>snakemake viewer</code> and <code>snakemake --forcerun overview</code> cards link to the "
            "viewer.</p>"
        )
    return "\n".join(parts)


def made(args: argparse.Namespace) -> str:
    """Return time and cost, versions and the config of the run."""
    import yaml

    config = escape(yaml.safe_dump(args.config, sort_keys=False, allow_unicode=True))
    return "\n".join(
        [
            "<h3>Time and cost</h3>",
            page.time_section(record.jobs(args.results / "benchmarks")),
            "<h3>Versions</h3>",
            page.version_section(record.commit(Path(__file__).resolve().parent)),
            f"<details><summary>Config of the run that made this page</summary><pre>{config}</pre></details>",
        ]
    )


if __name__ == "__main__":
    run(main)
