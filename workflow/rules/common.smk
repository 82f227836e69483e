# Functions and lists that the rules share. No rule stands here, and no rule file defines a function.
import json
import os
import re
import shlex
import sys
from pathlib import Path

BASE = Path(str(workflow.current_basedir)).parents[1]
sys.path.insert(0, str(BASE / "workflow" / "scripts"))

from chowder import cohort, imports, machine, methods
from chowder import settings as config_check
from chowder.files import UserError
from snakemake.exceptions import WorkflowError

machine.this_python_first()


def checked(function, *args, **kwargs):
    """Call ``function``; a mistake of the user becomes Snakemake's own error, one line, before any job starts."""
    try:
        return function(*args, **kwargs)
    except UserError as error:
        raise WorkflowError(str(error)) from None


checked(config_check.check, config, BASE / "workflow" / "schemas" / "config.schema.yaml")


def near(path):
    """A file of the workflow as seen from the working directory: relative where possible, so that a clone can move."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)


def script(name):
    """The program ``name``, as its rule takes it."""
    return near(BASE / "workflow" / "scripts" / f"{name}.py")


def library(name, also=()):
    """The library modules that the program ``name`` imports, as inputs: an edit reruns just the stages that use it."""
    return [near(path) for path in imports.modules_of(BASE / "workflow" / "scripts" / f"{name}.py", tuple(also))]


def labelled(values):
    """What a program must know, as one labelled JSON string for ``params`` (a function, so that braces stay as they are)."""
    text = json.dumps(values, sort_keys=True)
    return lambda wildcards: text


def settings(section, **more):
    """A section of the config, and what else its program must know, for ``params``."""
    return labelled(config[section] | more)


def training_settings():
    """What a model depends on: each section with the seed it draws from."""
    seed = {"seed": config["seed"]}
    learnt = {key: value for key, value in config["training"].items() if key != "threads"}
    sections = {"training": learnt | seed, "baselines": config["baselines"] | seed, "sample": config["sample"] | seed}
    return labelled(sections | {"dataset": config["dataset"]})


# --- where things lie -------------------------------------------------------------------------------------------------

SOURCE = config["slides"]["source"]
SIMULATED = SOURCE == "simulated"
RESULTS = os.path.join(config["results"], config["dataset"])
LOGS = f"{RESULTS}/logs"
TIMES = f"{RESULTS}/benchmarks"

# --- slides -----------------------------------------------------------------------------------------------------------


def slides_root():
    root = config["slides"]["root"]
    if SOURCE == "table" and root is None:
        raise UserError(
            "config: slides.root is not set: give the folder of your slides, as in --config 'slides={root: /data/slides}'"
        )
    return root


def slides_table():
    """Path of the slides table: as given, or the workflow's own file of that name."""
    table = config["slides"]["table"].replace("{root}", slides_root() or ".")
    return table if os.path.exists(table) or os.path.isabs(table) else near(BASE / table)


TABLE = checked(slides_table)
ROOT = slides_root() if SOURCE == "table" else None
SLIDES = {
    row.slide: row
    for row in checked(cohort.read, TABLE, config["slides"]["image"], config["slides"]["annotation"], ROOT)
}
TRAIN = [s for s, row in SLIDES.items() if row.split == "train"]
TEST = [s for s, row in SLIDES.items() if row.split == "test"]
FROC_SLIDES = [s for s, row in SLIDES.items() if row.counts_for_froc]
if not any(SLIDES[s].label for s in FROC_SLIDES):
    FROC_SLIDES = []  # nothing to find: the table says so


def image(slide):
    """The slide's file: the user's own, or where a rule puts it."""
    return os.path.join(ROOT, SLIDES[slide].image) if ROOT is not None else f"{RESULTS}/slides/{slide}.tif"


def annotation(slide):
    """The slide's ASAP XML in a list, empty where it has none."""
    if not SLIDES[slide].annotation:
        return []
    own = os.path.join(ROOT, SLIDES[slide].annotation) if ROOT is not None else None
    return [own or f"{RESULTS}/annotations/{slide}.xml"]


def passing(flag, paths):
    """``--flag path`` when there is one, for an option that may be left out."""
    return f"{flag} {shlex.quote(paths[0])}" if paths else ""


# --- encoders, methods, splits ----------------------------------------------------------------------------------------

ENCODERS = {re.sub(r"[:/]", "-", name): name for name in config["encoders"]}
METHODS = list(config["methods"])
for name in METHODS:
    checked(methods.parse, name)
ESTIMATORS = sorted({kind.estimator.split(":")[0].split(".")[1] for kind in methods.KINDS.values()})
FOLDS = [f"cv{fold + 1}" for fold in range(config["cv"]["folds"])]
SPLITS = (["competition"] if TEST else []) + FOLDS
SHARDS = [
    list(SLIDES)[i : i + config["embedding"]["shard"]] for i in range(0, len(SLIDES), config["embedding"]["shard"])
]
SHARD_OF = {slide: str(number) for number, shard in enumerate(SHARDS) for slide in shard}
LEARNT = [m for m in METHODS if methods.parse(m).trained_as_ensemble]
DRAWN = config["figures"]["heatmaps"] if TEST else []


def check_figures():
    wanted = config["figures"]["method"]
    if wanted not in METHODS:
        raise UserError(f"config: figures.method: {wanted!r} is not among methods: use one of {', '.join(METHODS)}")
    for slide in DRAWN:
        if slide not in TEST:
            raise UserError(
                f"config: figures.heatmaps: {slide!r} is not a test slide of {TABLE}: use some of {', '.join(TEST[:5])} ..."
            )


checked(check_figures)


def check_reference():
    wanted = config["evaluation"]["reference"]
    if wanted is not None and wanted not in METHODS:
        raise UserError(
            f"config: evaluation.reference: {wanted!r} is not among methods: use one of {', '.join(METHODS)}, or null"
        )


checked(check_reference)
# The reference method matters to the tests between methods alone: a new one recomputes no metric.
METRIC_SETTINGS = labelled(
    {key: value for key, value in config["evaluation"].items() if key != "reference"} | {"seed": config["seed"]}
)


# --- figures ----------------------------------------------------------------------------------------------------------

FIGURE_SETTINGS = labelled(
    {"dataset": config["dataset"], "simulated": SIMULATED, "gallery": config["figures"]["gallery"], "score": config["localisation"]["score"]}
)
FIGURES = [f"{RESULTS}/figures/tissue.png"]
for name in ENCODERS:
    FIGURES += [f"{RESULTS}/figures/auc_r_{name}.png"]
    if LEARNT:
        FIGURES += [f"{RESULTS}/figures/training_{name}.png"]
    if TEST:
        FIGURES += [f"{RESULTS}/figures/{kind}_{name}.png" for kind in ("curves", "split_bias")]
        FIGURES += [f"{RESULTS}/figures/ensemble_{name}.png"] if LEARNT else []
        FIGURES += [
            f"{RESULTS}/figures/{kind}_{name}_{config['figures']['method']}_{slide}.png"
            for kind in ("heatmap", "gallery")
            for slide in DRAWN
        ]
REPORT_TEXTS = [near(path) for path in sorted((BASE / "workflow" / "report").glob("*.rst"))]


def shard_images(wildcards):
    return [image(slide) for slide in SHARDS[int(wildcards.shard)]]


def shard_tiles(wildcards):
    return [f"{RESULTS}/tiles/{slide}.parquet" for slide in SHARDS[int(wildcards.shard)]]


def checkpoint_of(encoder):
    """The encoder's weight file in a list when the config names one that is a file (a tag is not)."""
    weights = config["embedding"]["weights"].get(ENCODERS.get(encoder, encoder), "")
    return [weights] if os.path.isfile(weights) else []


def gpus(section):
    """How many accelerators a job of ``section`` takes."""
    return machine.accelerators(config[section]["device"])


# --- downloads --------------------------------------------------------------------------------------------------------

SOURCE_KEYS = {"checksums.md5": "checksums.md5", "reference.csv": "evaluation/reference.csv"}
SOURCE_SHA256 = {
    file: f"--sha256 {pin}" if pin else ""
    for file, pin in zip(SOURCE_KEYS, (config["download"]["checksums_sha256"], config["download"]["reference_sha256"]))
}
DOWNLOAD_SETTINGS = labelled({key: config["download"][key] for key in ("retries", "timeout_s")})
STREAMING = SOURCE == "camelyon16" and not config["slides"]["keep"]


def streamed(path):
    """A slide that is deleted when nothing needs it any more, in streaming mode."""
    return temp(path) if STREAMING else path


def shards_before(slide):
    """In streaming mode, the shards that must be embedded before this slide may come: so few slides lie on disk at once."""
    lookahead = max(1, config["slides"]["at_once"] // config["embedding"]["shard"])
    before = int(SHARD_OF[slide]) - lookahead
    if not STREAMING or before < 0:
        return []
    return [f"{RESULTS}/features/{encoder}/shards/{before}.json" for encoder in ENCODERS]


def write_config():
    """The merged config of this run, beside its results."""
    from chowder.files import write_text
    import yaml

    write_text(f"{RESULTS}/config.yaml", yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False))


wildcard_constraints:
    slide=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    encoder="|".join(re.escape(e) for e in ENCODERS),
    method="|".join(re.escape(m) for m in METHODS),
    shard=r"\d+",
