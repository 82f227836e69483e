"""What a change makes run again: the promise of the workflow as a table, which test_reruns.py holds.

    python tests/workflow/rerun_table.py          # prints it for docs/operations.md (make reruns)

Every row is a dry run on a finished run of the tiny configuration (nine slides; MeanPool, WELDON and CHOWDER).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from workflow_clone import TINY, clone, planned, snakemake

Jobs = dict[str, int]
LIBRARY, PROGRAMS = "workflow/scripts/chowder", "workflow/scripts"
NOTHING: Jobs = {}


def plus(*parts: Jobs, **more: int) -> Jobs:
    """Jobs by rule of several parts together; what comes later counts."""
    result: Jobs = {}
    for part in (*parts, more):
        result |= part
    return result


# What follows from a stage on, from the end of the chain to its beginning.
REPORT = plus(report_html=1, overview=1)
TABLE = plus(REPORT, benchmark_table=1)
TESTED = plus(TABLE, tests_table=1, figure_matrix=1)
MEASURED = plus(TESTED, measure=3, metrics_table=1, figure_reliability=1, figure_lesion_sizes=1)
EVALUATED = plus(MEASURED, evaluate=3, figure_auc_r=1, figure_curves=1)
LESIONS = plus(EVALUATED, lesions=3)
PICTURES = plus(figure_heatmap=1, figure_gallery=1)
LOCALISED = plus(EVALUATED, PICTURES, localise=3)
TRAINED = plus(LOCALISED, train=3, ensemble_size=2, figure_ensemble=1, figure_training=1)
LEARNT = plus(TRAINED, train=2, localise=2, evaluate=2, measure=2)
CHOWDER = plus(LEARNT, train=1, localise=1, evaluate=1, measure=1, ensemble_size=1)
ADDED = plus(CHOWDER, figure_heatmap=0, figure_gallery=0)
POOLED = plus(EVALUATED, train=1, localise=1, evaluate=1, measure=1)
BIAS = plus(split_bias=1, figure_split_bias=1)
SPLIT = plus(TRAINED, BIAS, splits=1)
SAMPLED = plus(TRAINED, BIAS, tile_summary=1)
EMBEDDED = plus(TRAINED, BIAS, embed=3, index_features=1)
TILED = plus(EMBEDDED, tiles=9, tile_summary=1)
TISSUE = plus(TILED, LESIONS, tissue=9, figure_tissue=1)
SIMULATED = plus(TISSUE, simulate=9)
TABULATED = plus(SPLIT, SAMPLED, slides_table=1)
EVERYTHING = plus(SIMULATED, TABULATED)
ONE_SLIDE = plus(SAMPLED, embed=1, index_features=1, tissue=1, tiles=1, figure_tissue=1)
ONE_DRAWING = plus(
    REPORT,
    **{f"figure_{name}": 1 for name in ("curves", "auc_r", "ensemble", "split_bias", "training", "tissue")},
    **{f"figure_{name}": 1 for name in ("reliability", "lesion_sizes", "matrix")},
    **PICTURES,
)


@dataclass(frozen=True)
class Change:
    """One change and the jobs it must plan, no more and no fewer.

    Attributes
    ----------
    what : the change in words, as the table says it.
    jobs : jobs by rule, without targets.
    key, value : a key of the config, for example ``tissue.mpp``, and the value that it gets.
    edit : changes the folder for the time of the dry run.
    """

    what: str
    jobs: Jobs
    key: str = ""
    value: Any = None
    edit: Callable[[Path], contextlib.AbstractContextManager] | None = None

    @property
    def arguments(self) -> list[str]:
        """What Snakemake is told."""
        if not self.key:
            return []
        section, _, name = self.key.partition(".")
        return ["--config", f"{section}={json.dumps({name: self.value} if name else self.value)}"]


def keys(what: str, jobs: Jobs, **values: Any) -> list[Change]:
    """One change per key of the config; ``section__name`` stands for ``section.name``."""
    return [Change(what, jobs, key.replace("__", "."), value) for key, value in values.items()]


# --- edits ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def kept(*paths: Path) -> Iterator[None]:
    """Put files back as they were, with their times."""
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(paths):
            shutil.copy2(path, Path(folder, str(number)))
        try:
            yield
        finally:
            for number, path in enumerate(paths):
                shutil.copy2(Path(folder, str(number)), path)


def appended(pattern: str, text: str) -> Callable[[Path], contextlib.AbstractContextManager]:
    """An edit that appends ``text`` to the one file of that pattern (modules may move between packages)."""

    @contextlib.contextmanager
    def edit(folder: Path) -> Iterator[None]:
        (path,) = folder.glob(pattern)
        with kept(path):
            path.write_text(path.read_text() + text)
            yield

    return edit


def numbers(old: str, new: str) -> Callable[[Path], contextlib.AbstractContextManager]:
    """Another cell in the list of published numbers."""

    @contextlib.contextmanager
    def edit(folder: Path) -> Iterator[None]:
        path = folder / "config/published.csv"
        with kept(path):
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
            yield

    return edit


def module(name: str, text: str = "\nEDITED = 1\n") -> Callable[[Path], contextlib.AbstractContextManager]:
    """Code (or another text) at the end of a library module."""
    return appended(f"{LIBRARY}/**/{name}.py", text)


def edited(name: str, change: tuple[str, str]) -> Callable[[Path], contextlib.AbstractContextManager]:
    """A library module with one text in place of another."""

    @contextlib.contextmanager
    def edit(folder: Path) -> Iterator[None]:
        path = folder / f"{LIBRARY}/{name}.py"
        with kept(path):
            before = path.read_text()
            assert before.count(change[0]) == 1
            path.write_text(before.replace(*change))
            yield

    return edit


def script(name: str) -> Callable[[Path], contextlib.AbstractContextManager]:
    """Code at the end of a program."""
    return appended(f"{PROGRAMS}/{name}.py", "\nEDITED = 1\n")


@contextlib.contextmanager
def comments(folder: Path) -> Iterator[None]:
    """A comment, a docstring and an empty line in every module and program."""
    paths = [*folder.glob(f"{LIBRARY}/**/*.py"), *folder.glob(f"{PROGRAMS}/*.py")]
    with kept(*paths):
        for path in paths:
            path.write_text(f"# A comment.\n\n{path.read_text()}\n'''And words that do nothing.'''\n")
        yield


@contextlib.contextmanager
def touched(folder: Path) -> Iterator[None]:
    """Every file of the workflow as if it came from a fresh checkout."""
    paths = [path for path in folder.glob("workflow/**/*") if path.is_file()]
    with kept(*paths):
        for path in paths:
            path.touch()
        yield


def table(replace: Callable[[str], str]) -> Callable[[Path], contextlib.AbstractContextManager]:
    """The slides table with another text."""

    @contextlib.contextmanager
    def edit(folder: Path) -> Iterator[None]:
        path = folder / "tests/workflow/tiny.csv"
        with kept(path):
            path.write_text(replace(path.read_text()))
            yield

    return edit


@contextlib.contextmanager
def another_image(folder: Path) -> Iterator[None]:
    """The file of one slide, replaced by another."""
    path = folder / "results/tiny/slides/normal_001.tif"
    with kept(path):
        path.write_bytes((folder / "results/tiny/slides/normal_002.tif").read_bytes())
        yield


NEW = "normal_009,0,train,centre_a,negative\n"

KIND = (
    '    "weldon": Kind(',
    '    "other": Kind("Other", "chowder.models.pooled:Other", "baselines"),\n    "weldon": Kind(',
)
FAMILY = ('    "timm":', '    "other": "chowder.features.encoders.other:other",\n    "timm":')
TITLE = ('"WELDON", "chowder', '"Weldon", "chowder')
PRINTED = ("figure_curves", "figure_auc_r", "figure_ensemble", "figure_training", "metrics_table")
PRINTED += ("figure_reliability", "figure_lesion_sizes", "figure_matrix")

OPTIMISER = {"members": 3, "epochs": 3, "learning_rate": 0.5, "weight_decay": 0.5}
UNUSED_AGGREGATORS: dict[str, dict[str, Any]] = {
    "abmil": {"hidden": 9, "attention": 9, "dropout": 0.5},
    "clam_sb": {"hidden": 9, "attention": 9, "dropout": 0.5, "k_sample": 3, "bag_weight": 0.5},
    "dsmil": {"attention": 9, "nonlinear": False},
    "transmil": {"attention": 16, "heads": 4, "landmarks": 9, "dropout": 0.5},
    "dtfd": {"hidden": 9, "attention": 9, "groups": 2},
}

CHANGES: list[Change] = [
    Change("nothing", NOTHING),
    *keys("`dataset`, `results`: another name or place", EVERYTHING, dataset="other", results="elsewhere"),
    *keys("`seed`", plus(EVERYTHING, slides_table=0), seed=7),
    Change(
        "a slide more, anywhere in `slides.table`",
        plus(ONE_SLIDE, TABULATED, simulate=1),
        edit=table(lambda text: text.replace("normal_003", NEW + "normal_003", 1)),
    ),
    Change(
        "a slide less",
        plus(TABULATED, embed=1, index_features=1, figure_tissue=1),
        edit=table(lambda text: text.replace("tumor_002,1,train,centre_b,micro\n", "")),
    ),
    Change(
        "a slide's label corrected",
        TABULATED,
        edit=table(
            lambda text: text.replace("normal_003,0,train,centre_a,negative", "normal_003,1,train,centre_a,negative")
        ),
    ),
    Change("a slide's file replaced", ONE_SLIDE, edit=another_image),
    Change(
        "a column `md5` added to `slides.table`",
        NOTHING,
        edit=table(lambda text: "\n".join(f"{line},{'md5' if line[:6] == 'slide,' else ''}" for line in text.split())),
    ),
    *keys(
        "`slides.image`, `slides.annotation`: patterns of file names",
        TABULATED,
        slides__image="x/{slide}.tif",
        slides__annotation="x/{slide}.xml",
    ),
    Change(
        "`slides.labels`: a second label set that changes a training slide",
        TABULATED,
        "slides.labels",
        "tests/workflow/labels.csv",
    ),
    *keys(
        "`slides.table`: other slides",
        plus(EVERYTHING, lesions=24, embed=17, **dict.fromkeys(("simulate", "tissue", "tiles"), 54)),
        slides__table="config/demo.csv",
    ),
    *keys(
        "`slides.source`: the same slides downloaded",
        plus(EVERYTHING, simulate=0, fetch_source=2, camelyon16_table=1, fetch_slide=9, fetch_annotation=2),
        slides__source="camelyon16",
    ),
    *keys(
        "`slides.root`, `keep`, `at_once` (sources that do not use them)",
        NOTHING,
        slides__root="/tmp",
        slides__keep=False,
        slides__at_once=3,
    ),
    *keys(
        "`simulation`",
        SIMULATED,
        simulation__area_mm2=0.6,
        simulation__variation=0.5,
        simulation__pen=0.2,
        simulation__quality=80,
    ),
    *keys(
        "`download`",
        NOTHING,
        download__base_url="/tmp/mirror",
        download__levels="needed",
        download__retries=3,
        download__patience_min=5,
        download__timeout_s=5,
        download__checksums_sha256="0" * 64,
        download__reference_sha256="0" * 64,
    ),
    *keys(
        "`tissue`",
        TISSUE,
        tissue__mpp=9,
        tissue__combine="or",
        tissue__min_area_mm2=0.03,
        tissue__max_hole_mm2=0.03,
        tissue__exclude_pen=False,
    ),
    *keys("`tiles`", TILED, tiles__size=256, tiles__mpp=0.4, tiles__resample="level", tiles__min_tissue=0.6),
    *keys("`sample`", SAMPLED, sample__minimum=900, sample__fraction=0.4),
    *keys("`encoders`: one more", EMBEDDED, encoders=["efficientnet_lite0", "resnet18"]),
    *keys(
        "`embedding.normalisation`, `precision`, `compile`",
        EMBEDDED,
        embedding__normalisation="none",
        embedding__precision="bf16",
        embedding__compile=True,
    ),
    *keys(
        "`embedding.mean`, `std`, `pooling` of the encoder",
        EMBEDDED,
        embedding__mean={"efficientnet_lite0": [0.5, 0.5, 0.5]},
        embedding__std={"efficientnet_lite0": [0.5, 0.5, 0.5]},
        embedding__pooling={"efficientnet_lite0": "mean"},
    ),
    *keys(
        "`embedding.weights` of the encoder", EMBEDDED, embedding__weights={"efficientnet_lite0": "config/config.yaml"}
    ),
    *keys(
        "`embedding.batch`, `device`, `shard`, `threads`",
        NOTHING,
        embedding__batch=16,
        embedding__device="cpu",
        embedding__shard=2,
        embedding__threads=2,
    ),
    *keys("`methods`: one more", ADDED, methods=["meanpool", "weldon_r1", "chowder_r1", "chowder_r2"]),
    *keys(
        "`training`: CHOWDER and WELDON",
        LEARNT,
        training__members=3,
        training__epochs=4,
        training__batch=5,
        training__learning_rate=0.01,
        training__l2=0.4,
        training__bias=True,
        training__leave_out_undertrained=True,
    ),
    Change("`training`: CHOWDER and WELDON", LEARNT, "training.epochs", "auto"),
    *keys(
        "`training.hidden`, `dropout`: CHOWDER alone",
        CHOWDER,
        training__hidden=[10, 20],
        training__dropout=0.4,
    ),
    *keys("`training.tile_hidden`: `chowder_mlp` alone", NOTHING, training__tile_hidden=[64]),
    *keys("`training.repeats`: one more", plus(TABLE, train=3, localise=3, repeats_table=1), training__repeats=2),
    *keys(
        "`training.device`, `threads`, `in_memory_gb`",
        NOTHING,
        training__device="cpu",
        training__threads=2,
        training__in_memory_gb=2,
    ),
    *keys(
        "`baselines`: the pooled methods",
        POOLED,
        baselines__c=2.0,
        baselines__standardise=False,
        baselines__inner_cv=True,
    ),
    *[
        Change("aggregators that `methods` does not name", NOTHING, f"{kind}.{key}", value)
        for kind, own in UNUSED_AGGREGATORS.items()
        for key, value in (own | OPTIMISER).items()
    ],
    *keys(
        "`features` (another source)",
        NOTHING,
        features__folder="elsewhere",
        features__layout="clam",
        features__name="uni",
        features__mpp=0.25,
        features__tile_um=112,
        features__tile_px=256,
        features__without_places=True,
        features__thumbnails="elsewhere",
    ),
    *keys("`cv`", SPLIT, cv__folds=3, cv__over="train", cv__stratify="label"),
    *keys(
        "`localisation`",
        LOCALISED,
        localisation__score="embedding",
        localisation__smoothing_um=100,
        localisation__nms_um=100,
    ),
    *keys(
        "`evaluation.bootstrap`, `froc_mode`", EVALUATED, evaluation__bootstrap=200, evaluation__froc_mode="corrected"
    ),
    *keys("`evaluation.confidence`", plus(EVALUATED, ensemble_size=2, figure_ensemble=1), evaluation__confidence=0.9),
    *keys("`evaluation.reference`", TESTED, evaluation__reference="meanpool"),
    *keys("`evaluation.froc_mpp`", LESIONS, evaluation__froc_mpp="slide"),
    *keys("`evaluation.detections`, `against`", NOTHING, evaluation__detections="folder", evaluation__against="folder"),
    *keys(
        "`figures.method`: other drawings",
        plus(PICTURES, REPORT, figure_curves=1),
        figures__method="weldon_r1",
    ),
    *keys("`figures.heatmaps`: other drawings", plus(PICTURES, REPORT), figures__heatmaps=["test_002"]),
    *keys("`figures.gallery`", plus(REPORT, figure_gallery=1), figures__gallery=2),
    *keys("`figures.viewer_mpp`: the viewer, which is no default target", NOTHING, figures__viewer_mpp=1),
    *keys(
        "`predict.model`, `slides`, `name` (one of them alone)",
        NOTHING,
        predict__model="bundle.zip",
        predict__slides="folder",
        predict__name="other",
    ),
    Change("every file of the workflow touched", NOTHING, edit=touched),
    Change("comments and docstrings in every module and program", NOTHING, edit=comments),
    Change("code of a program: `figure_tissue.py`", plus(REPORT, figure_tissue=1), edit=script("figure_tissue")),
    Change("another kind of method, or family of encoders, in the code", NOTHING, edit=edited("models/kinds", KIND)),
    Change(
        "another kind of method, or family of encoders, in the code",
        NOTHING,
        edit=edited("features/encoders/families", FAMILY),
    ),
    Change("the title of WELDON", plus(TABLE, dict.fromkeys(PRINTED, 1)), edit=edited("models/kinds", TITLE)),
    Change("code of `data/download/client`", NOTHING, edit=module("data/download/client")),
    Change("code of `data/cohort` (slides tables)", plus(TABULATED, LESIONS), edit=module("data/cohort")),
    Change("code of `data/simulation/render`", SIMULATED, edit=module("data/simulation/render")),
    Change("code of `slides/tissue`", TISSUE, edit=module("slides/tissue")),
    Change("code of `features/shards`", NOTHING, edit=module("features/shards")),
    Change("code of `features/encoders/lite0`", EMBEDDED, edit=module("features/encoders/lite0")),
    Change("code of `features/encoders/resnet`", NOTHING, edit=module("features/encoders/resnet")),
    Change("code of `models/trainer`", LEARNT, edit=module("models/trainer")),
    Change("code of `models/pooled`", POOLED, edit=module("models/pooled")),
    Change("code of `models/splits`", SPLIT, edit=module("models/splits")),
    Change("code of `evaluation/localisation`", LOCALISED, edit=module("evaluation/localisation")),
    Change("code of `evaluation/lesions`", LESIONS, edit=module("evaluation/lesions")),
    Change("code of `evaluation/froc`", EVALUATED, edit=module("evaluation/froc")),
    Change(
        "code of `evaluation/operating`: the second table",
        plus(REPORT, measure=3, metrics_table=1, figure_reliability=1, figure_lesion_sizes=1),
        edit=module("evaluation/operating"),
    ),
    Change("code of `evaluation/comparisons`", TESTED, edit=module("evaluation/comparisons")),
    Change("code of `report/table/rows`", plus(TABLE, metrics_table=1), edit=module("report/table/rows")),
    Change("code of `report/figures/curves`", plus(REPORT, figure_curves=1), edit=module("report/figures/curves")),
    Change("code of `report/figures/style`", ONE_DRAWING, edit=module("report/figures/style")),
    Change("code of `settings`", NOTHING, edit=module("settings")),
    Change("`config/published.csv`: a number of another method", TABLE, edit=numbers("abmil,uni,,", "abmil,uni,5,")),
    Change(
        "a number of the paper's Table 1",
        plus(TABLE, figure_auc_r=1, figure_curves=1),
        edit=numbers(",0.858,", ",0.859,"),
    ),
    Change("the paper's split bias", plus(TABLE, figure_split_bias=1), edit=numbers(",0.75,", ",0.76,")),
    Change("one caption of the report", REPORT, edit=appended("workflow/report/table.rst", "More.\n")),
]


# --- dry runs ---------------------------------------------------------------------------------------------------------


def dry_run(folder: Path, change: Change) -> Jobs:
    """Jobs that ``change`` plans in a finished ``folder``. The process is forked: Snakemake is imported only once."""
    import pandas  # noqa: F401  (what Snakemake imports later, done once here)
    import snakemake.cli

    with (
        change.edit(folder) if change.edit else contextlib.nullcontext(),
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
    ):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                # a test runner may have put objects of its own in their place, and have imported the library from
                # elsewhere; a module that is edited twice in a second must not be taken from its bytecode
                sys.dont_write_bytecode = True
                for name in [name for name in sys.modules if name.partition(".")[0] == "chowder"]:
                    del sys.modules[name]
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                os.chdir(folder)
                sys.argv = ["snakemake", "-n", "--cores", "2", *TINY, *change.arguments]
                snakemake.cli.main()
            except SystemExit as end:
                status = end.code or 0
            finally:
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        text = output.read()
    if status:
        raise AssertionError(f"{change}: the dry run ended with {status}:\n{text[-3000:]}")
    jobs = planned(text)
    for target in ("all", "everything"):
        jobs.pop(target, None)
    assert jobs or "Nothing to be done" in text, text[-3000:]
    return jobs


def wanted(jobs: Jobs) -> Jobs:
    """``jobs`` without rules of which none is planned."""
    return {rule: count for rule, count in jobs.items() if count}


COLUMNS = ("simulate", "tissue", "tiles", "embed", "train", "localise", "evaluate")


def markdown() -> str:
    """The table for the documentation: one line per kind of change, the longest stages in columns of their own."""
    lines = {}
    for change in CHANGES:
        cells = [change.jobs.get(rule, 0) for rule in COLUMNS]
        total = sum(change.jobs.values())
        numbers = " | ".join(str(number or "") for number in [*cells, total - sum(cells), total])
        lines[change.what] = f"| {change.what} | {numbers} |" if total else f"| {change.what} |{' |' * 8} nothing |"
    head = " | ".join(["change", *COLUMNS, "others", "jobs"])
    return "\n".join([f"| {head} |", "|---" * 10 + "|", *lines.values()])


def main() -> None:
    """Run the tiny configuration once, check every row, print the table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else clone(Path(scratch, "clone"))
        if len(sys.argv) == 1:
            snakemake(folder, "--cores", "2", *TINY)
        wrong = 0
        for change in CHANGES:
            found = dry_run(folder, change)
            if found != wanted(change.jobs):
                wrong += 1
                less = {k: v for k, v in wanted(change.jobs).items() if found.get(k) != v}
                more = {k: v for k, v in found.items() if change.jobs.get(k, 0) != v}
                print(f"{change.what} {change.key}: promised {less}, planned {more}", file=sys.stderr)
    print(markdown())
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
