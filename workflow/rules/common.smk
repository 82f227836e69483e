# Functions and lists that the rules share. No rule stands here, and no rule file defines a function.
import dataclasses
import functools
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# --- the workflow's own files -----------------------------------------------------------------------------------------


def own_folder():
    """The folder `workflow` as a local path. For a module from git: a checkout of its commit below .snakemake."""
    here = workflow.current_basedir.get_basedir()
    if not hasattr(here, "ref"):
        return Path(here.get_path_or_uri(secret_free=True))
    clone = here.repo_path if hasattr(here, "repo_path") else here.hosted_repo.repo.git_dir
    git = ["git", "-C", str(clone)]
    commit = subprocess.check_output([*git, "rev-parse", f"{here.ref}^{{commit}}"], text=True).strip()
    checkout = Path(".snakemake", "chowder", commit)
    if not checkout.is_dir():
        checkout.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=checkout.parent))
        archive = subprocess.check_output([*git, "archive", commit, here.path, "config"])
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(scratch, filter="data")
        try:
            scratch.rename(checkout)
        except OSError:  # another process was faster
            shutil.rmtree(scratch)
    return checkout / here.path


# Whether jobs run on this machine: `--jobs` without `--cores` counts its cores, and is for others beside an executor.
# (workflow.local_exec is known only after the rules are read, and is then to be asked in functions.)
HERE = workflow.resource_settings.nodes is None
WORKFLOW = own_folder()
PROGRAMS = WORKFLOW / "scripts"
sys.path.insert(0, str(PROGRAMS.resolve()))

from chowder import __version__ as VERSION
from chowder import failures, fingerprint, lock, machine, preflight
from chowder import settings as config_check
from chowder.data import cohort
from chowder.data.download import places
from chowder.features import shards
from chowder.features.encoders import families, networks
from chowder.files import UserError
from chowder.models import kinds, memory
from chowder.models import names as methods
from chowder.report import published

machine.this_python_first()
fingerprint.remember(Path(".snakemake", "chowder-code.json"))

if workflow.is_main_process and "doctor" in sys.argv[1:]:
    # here, before the config is checked and cores are asked for: a wrong config is one of the things that it tells
    words = [sys.executable, str(PROGRAMS / "doctor.py"), "--config", json.dumps(config, default=str)]
    sys.exit(subprocess.call(words))


def near(path):
    """A file of the workflow as seen from the working directory: relative where possible, so that a clone can move."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)


def checked(function, *args, where="", **kwargs):
    """Call ``function``; a mistake of the user becomes Snakemake's own error, one line, before any job starts."""
    try:
        return function(*args, **kwargs)
    except UserError as error:
        raise WorkflowError(f"{where}{error}") from None


checked(config_check.check, config, WORKFLOW / "schemas" / "config.schema.yaml")
BUNDLE = None  # the trained model that predicts on predict.slides, in place of training
if config["predict"]["model"] and config["predict"]["slides"]:
    from chowder.data import unlabelled
    from chowder.models import bundle, predicting  # imports numpy

    BUNDLE = checked(bundle.open_bundle, config["predict"]["model"])
    if workflow.is_main_process:
        checked(BUNDLE.check)
    predicting.overlay(config, BUNDLE)
    checked(predicting.settings_fit, config, WORKFLOW / "schemas" / "config.schema.yaml", BUNDLE)

# --- what makes a job run again ---------------------------------------------------------------------------------------
# Snakemake compares the values of params (as a set: each must carry its name) and the template of the shell command.
# It does not compare params that are functions of `threads`. So what a result depends on stands in params as it is,
# and what it does not depend on (paths of programs, batch sizes, devices, time-outs) goes through `untracked`.


def untracked(value):
    """A parameter whose change reruns nothing."""
    return lambda wildcards, threads: value


def program(name):
    """``**program("fetch")`` in params: only the path of a program, where an edit of it cannot change the result."""
    return {"program": untracked(near(PROGRAMS / f"{name}.py"))}


TABLES = (
    "chowder.models.kinds",
    "chowder.features.encoders.families",
    "chowder.features.encoders.networks",
)  # of methods and encoders by name


@functools.cache
def code_of(name, entries):
    """The fingerprint of a program, of what it executes, and of entries of the tables with the modules they name."""
    modules = [module for _, module in entries if module]
    return json.dumps([fingerprint.of(PROGRAMS / f"{name}.py", modules, TABLES), *(text for text, _ in entries)])


def code(name, entries=lambda wildcards: ()):
    """``**code("tissue")`` in params: the path of a program, and the fingerprint of all the code that it executes.

    The tables of methods and encoders do not count: another line in them computes nothing again. ``entries`` gives,
    for the job's wildcards, what they say of the methods or the encoder that the job uses: (text, module or "").
    """
    return program(name) | {"code": lambda wildcards: code_of(name, entries(wildcards))}


def labelled(values):
    """Values that a result depends on, as one JSON string with their names (a function, so that braces stay)."""
    text = json.dumps(values, sort_keys=True)
    return lambda wildcards: text


def chosen(*keys):
    """The values of keys of the config by the last part of their names; ``tissue.*`` is a whole section."""
    values = {}
    for key in keys:
        section, _, name = key.rpartition(".")
        place = config[section] if section else config
        values |= place if name == "*" else {name: place[name]}
    return values


def settings(*keys, **more):
    """Exactly these keys of the config, and what else a result depends on, for ``params``."""
    return labelled(chosen(*keys) | more)


# --- where things lie -------------------------------------------------------------------------------------------------

SOURCE = config["slides"]["source"]
SIMULATED = SOURCE == "simulated"
READY = SOURCE == "features"  # no slides: features that another tool made
STREAMING = SOURCE == "camelyon16" and not config["slides"]["keep"]  # a slide is deleted once nothing needs it
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
    return table if os.path.exists(table) or os.path.isabs(table) else near(WORKFLOW.parent / table)


checked(preflight.patterns, config["slides"])
checked(preflight.paths, config)
TABLE = checked(slides_table)
ROOT = slides_root() if SOURCE == "table" else None
LABELS = [config["slides"]["labels"]] if config["slides"]["labels"] else []  # a second label set
OUTLINES = (slides_root() or ".") if READY else None
CLASSES, RELABELLED = {}, []  # classes by the table itself (simulated slides are drawn by them); slides of LABELS


def slides():
    """The rows of the slides table, with a second label set in place of their labels where there is one."""
    if BUNDLE:
        return unlabelled.find(config["predict"]["slides"])
    rows = cohort.read(TABLE, config["slides"]["image"], config["slides"]["annotation"], ROOT)
    CLASSES.update({row.slide: row.cls for row in rows})
    if LABELS:
        rows, changed = cohort.override(rows, LABELS[0])
        RELABELLED.extend(changed)
    return cohort.outlined(rows, OUTLINES, not config["features"]["without_places"]) if READY else rows


SLIDES = {row.slide: row for row in checked(slides)}
TRAIN = [s for s, row in SLIDES.items() if row.split == "train"]
TEST = [s for s, row in SLIDES.items() if row.split == "test"]
if READY:
    from chowder.features import foreign  # imports numpy

    READY_NAME = config["features"]["name"]
    READY_FILES = checked(
        foreign.find, config["features"]["folder"] or "(not set)", SLIDES, config["features"]["layout"]
    )
FROC_SLIDES = [s for s, row in SLIDES.items() if row.counts_for_froc]
if not any(SLIDES[s].label for s in FROC_SLIDES):
    FROC_SLIDES = []  # nothing to find: the table says so


# Slides of one's own with an md5. Their records are inputs of targets, not of jobs: a column that is added later reruns
# nothing that was computed.
VERIFIED = [f"{RESULTS}/verified/{s}.json" for s, row in SLIDES.items() if ROOT is not None and row.md5]


RESOLVED = hashlib.sha256(json.dumps([row.resolved(SIMULATED) for row in SLIDES.values()]).encode()).hexdigest()


def image(slide):
    """The slide's file: the user's own, or where a rule puts it."""
    return os.path.join(ROOT, SLIDES[slide].image) if ROOT is not None else f"{RESULTS}/slides/{slide}.tif"


def annotation(slide):
    """The slide's ASAP XML in a list, empty where it has none."""
    if not SLIDES[slide].annotation:
        return []
    root = OUTLINES if READY else ROOT
    own = os.path.join(root, SLIDES[slide].annotation) if root is not None else None
    return [own or f"{RESULTS}/annotations/{slide}.xml"]


def state_of(path):
    """Size and time of a file: when they change, the file has. (Snakemake overlooks one that is older than before.)"""
    state = os.stat(path)
    return f"{state.st_size} bytes, {state.st_mtime_ns}"


def passing(flag, paths):
    """``--flag path`` when there is one, for an option that may be left out."""
    return f"{flag} {shlex.quote(paths[0])}" if paths else ""


# --- encoders, methods, splits ----------------------------------------------------------------------------------------


def shards_of_encoders():
    """The shards of every encoder. In streaming mode the same for all, and two of them fit on the disk."""
    made = {name: shards.made(f"{RESULTS}/features/{name}/shards") for name in ENCODERS}
    size = config["embedding"]["shard"]
    if not STREAMING:
        return {name: shards.plan(list(SLIDES), size, made[name]) for name in ENCODERS}
    size = min(size, max(1, config["slides"]["at_once"] // 2))
    return dict.fromkeys(ENCODERS, shards.plan(list(SLIDES), size, shards.together(made.values())))


ENCODERS = checked(preflight.folders, [READY_NAME] if READY else config["encoders"])
if not READY:
    for look in (preflight.encoders, preflight.models):
        checked(look, config["encoders"], config["embedding"]["weights"], where=f"{BUNDLE.path}: " if BUNDLE else "")
METHODS = list(config["methods"])
for name in METHODS:
    checked(methods.parse, name)
if not BUNDLE:
    checked(preflight.folds, config["cv"]["folds"], config["cv"]["over"], SLIDES.values(), config["cv"]["stratify"])
FOLDS = [f"cv{fold + 1}" for fold in range(config["cv"]["folds"])]
SPLITS = (["competition"] if TEST else []) + FOLDS
BUNDLED = ["competition"] if TEST else FOLDS  # splits whose models a bundle holds: without a test split all folds'
SHARDS = shards_of_encoders()
REPEATS = config["training"]["repeats"]
if REPEATS > 1 and any(methods.parse(name).repeat for name in METHODS):
    raise WorkflowError("config: training.repeats: methods names a repeat (_s1) itself: remove it, or set repeats to 1")
RUNS = METHODS + [
    f"{name}_s{number}" for name in METHODS for number in range(1, REPEATS)
]  # a row each, or repeats of one
LEARNT = [m for m in METHODS if methods.parse(m).trained_as_ensemble]
PLACED = TEST and not (READY and config["features"]["without_places"])
DRAWN = checked(preflight.heatmaps, config["figures"]["heatmaps"], SLIDES.values(), TABLE) if PLACED else []
PIXELS = not READY  # a picture of tiles needs the slide


def check_figures():
    wanted = config["figures"]["method"]
    if wanted not in METHODS:
        raise UserError(f"config: figures.method: {wanted!r} is not among methods: use one of {', '.join(METHODS)}")


checked(check_figures)


def check_reference():
    wanted = config["evaluation"]["reference"]
    if wanted is not None and wanted not in METHODS:
        raise UserError(
            f"config: evaluation.reference: {wanted!r} is not among methods: use one of {', '.join(METHODS)}, or null"
        )


checked(check_reference)


def strangers_detections(key):
    """The CSVs of a folder that `snakemake score` scores; without a folder there is nothing to score."""
    folder = config["evaluation"][key]
    if folder is None and key == "detections":
        raise WorkflowError("config: evaluation.detections is not set: give the folder of <slide>.csv to score")
    if not FROC_SLIDES:
        raise WorkflowError("score: no test slide has annotated lesions: add a test split and annotations to the table")
    if folder is None:
        return []
    if not os.path.isdir(folder):
        raise WorkflowError(f"config: evaluation.{key}: {folder!r} is no folder: give the folder of <slide>.csv")
    return sorted(str(path) for path in Path(folder).iterdir() if path.suffix.lower() == ".csv")


def bundles_of_all():
    """The bundle of every method and encoder."""
    if READY:
        raise WorkflowError(
            "bundles: the features were made elsewhere (slides.source: features), so how to make those of a new slide is "
            "not known: make bundles from slides"
        )
    return expand(f"{RESULTS}/bundles/{{encoder}}/{{method}}.zip", encoder=ENCODERS, method=METHODS)


# --- viewer -----------------------------------------------------------------------------------------------------------

VIEWED = list(SLIDES) if BUNDLE else DRAWN if PIXELS and not STREAMING else []
VIEWER_NOTE = "For research, not for diagnosis." if BUNDLE else ""
VIEWER_PAGE = fingerprint.of_texts(sorted((WORKFLOW / "report" / "viewer").glob("*")))


def viewed_results():
    """Predictions of each method, and its tile scores of each slide that is shown."""
    if BUNDLE:
        tables, scores = [f"{PREDICTED}/predictions.csv"], [f"{PREDICTED}/tile_scores"]
    else:
        encoder = next(iter(ENCODERS))
        tables = [f"{RESULTS}/predictions/{encoder}/{m}/competition.csv" for m in METHODS]
        scores = [f"{RESULTS}/tile_scores/{encoder}/{m}" for m in METHODS]
    return {"predictions": tables, "scores": [f"{folder}/{slide}.parquet" for folder in scores for slide in VIEWED]}


# --- numbers of others ------------------------------------------------------------------------------------------------

PUBLISHED = (
    "config/published.csv" if os.path.isfile("config/published.csv") else WORKFLOW.parent / "config/published.csv"
)
NUMBERS = checked(published.read, near(PUBLISHED))


def printed(numbers):
    """``**printed(NUMBERS)`` in params: the file of published numbers, and what decides a job that shows ``numbers``."""
    shown = published.fingerprint(numbers)
    return {"published": untracked(near(PUBLISHED)), "numbers": labelled({"published": shown})}


# --- figures ----------------------------------------------------------------------------------------------------------


def figure(stem, caption, category, prefix="", **labels):
    """``**figure("curves_{encoder}", ...)`` in output: a drawing with its data, and its place in the report.

    ``prefix`` of the names that a rule with several drawings gives its outputs.
    """
    path = f"{RESULTS}/figures/{stem}"
    png = report(f"{path}.png", caption=f"../report/{caption}.rst", category=category, labels=labels)
    return {f"{prefix}png": png, f"{prefix}svg": f"{path}.svg", f"{prefix}csv": f"{path}.csv"}


def drawing(name, *keys, entries=lambda wildcards: ()):
    """``**drawing("figure_curves")`` in params: what every figure takes, and ``keys`` of the config."""
    return code(name, entries) | {
        "settings": settings("dataset", *keys, simulated=SIMULATED),
        "stem": lambda wildcards, output: output.png[:-4],
    }


def picture(kind, **wildcards):
    """A figure of the run: its kind (which is also the name of its caption), file name and wildcards."""
    return {"kind": kind, "stem": "_".join([kind, *wildcards.values()]), "wildcards": wildcards}


EMBED_TIMES = [f"{TIMES}/embed/{name}/{shard}.tsv" for name in SHARDS for shard in SHARDS[name] if not READY]
DRAWN_ALWAYS = (
    "curves",
    "bands",
    "layout",
    "reliability",
    "split_bias",
)  # of every encoder, where there are test slides
PICTURES = [picture("matrix"), picture("tissue")]
for name in ENCODERS:
    PICTURES += [picture("auc_r", encoder=name)]
    if LEARNT:
        PICTURES += [picture("training", encoder=name)]
    if TEST:
        PICTURES += [picture(kind, encoder=name) for kind in DRAWN_ALWAYS]
        PICTURES += [picture("lesion_sizes", encoder=name)] if FROC_SLIDES else []
        PICTURES += [picture("ensemble", encoder=name)] if LEARNT else []
        PICTURES += [
            picture(kind, encoder=name, method=config["figures"]["method"], slide=slide)
            for kind in (("heatmap", "gallery") if PIXELS else ("heatmap",))
            for slide in DRAWN
        ]
FIGURES = [f"{RESULTS}/figures/{one['stem']}.png" for one in PICTURES]
# Test slides of which the overview shows a small heat map.
MAPPED = TEST if PLACED else []
OUTLINED = {slide: path for slide in MAPPED for path in annotation(slide)}
REPEATED = [f"{RESULTS}/repeats.html"] if REPEATS > 1 else []
CAPTIONS = fingerprint.of_texts(sorted((WORKFLOW / "report").glob("*.rst")))


# --- models and features ----------------------------------------------------------------------------------------------


def table_settings():
    """What the benchmark table says of the run."""
    return settings(
        "dataset",
        "evaluation.froc_mode",
        "localisation.score",
        "training.leave_out_undertrained",
        "training.repeats",
        simulated=SIMULATED,
        **({"labels": os.path.basename(LABELS[0]), "relabelled": RELABELLED} if LABELS else {}),
    )


def estimator_of(method):
    """The entry of a method's kind without its title, and the module that holds its class."""
    shown = dict.fromkeys(("title", "lesion_score", "source"), "")
    entry = dataclasses.replace(kinds.KINDS[methods.parse(method).kind], unused=(), **shown)
    return ((repr(entry), entry.estimator.partition(":")[0]),)


def estimator(wildcards):
    """What the job's method is made by."""
    return estimator_of(wildcards.method)


def network(wildcards):
    """The entry of the job's encoder, and the module that builds it."""
    name = ENCODERS[wildcards.encoder]
    entry, own = families.family_of(name), networks.NETWORKS.get(name)
    return ((entry + (own.decisive if own else ""), entry.partition(":")[0]),)


def titles(wildcards):
    """What the job prints of its method, or of all."""
    names = [wildcards.method] if "method" in wildcards.keys() else METHODS
    return tuple((methods.label(name), "") for name in names)


def training_of(method):
    """What a model depends on: its own section of the config, and the seed that each part draws from."""
    kind, seed = kinds.KINDS[methods.parse(method).kind], {"seed": config["seed"]}
    without = ("device", "threads", "repeats", "in_memory_gb", *kind.unused)
    decisive = {key: value for key, value in config[kind.settings].items() if key not in without}
    values = {kind.settings: decisive | seed, "sample": seed, "dataset": config["dataset"]}
    return json.dumps(values, sort_keys=True)


def training_settings(wildcards):
    """What the model of the job's method depends on."""
    return training_of(wildcards.method)


@functools.cache
def all_methods():
    """Settings and code of all methods, so that the first job of an encoder can train them in one pass."""
    return json.dumps(
        {
            name: {"settings": json.loads(training_of(name)), "code": code_of("train", estimator_of(name))}
            for name in RUNS
        }
    )


def shard(wildcards):
    """The slides of the job's shard."""
    return SHARDS[wildcards.encoder][wildcards.shard]


def embedding_settings(wildcards):
    """What features depend on: the encoder's own weights, not those of others; no batch, device or thread."""
    weights = config["embedding"]["weights"]
    own = {name: path for name, path in weights.items() if name == ENCODERS[wildcards.encoder]}
    values = chosen("embedding.normalisation", "embedding.precision", "embedding.compile") | {"weights": own}
    for key in ("mean", "std", "pooling"):
        mine = config["embedding"][key].get(ENCODERS[wildcards.encoder])
        values |= {key: {ENCODERS[wildcards.encoder]: mine}} if mine else {}
    return json.dumps(values, sort_keys=True)


def checkpoint_of(encoder):
    """The encoder's weight file in a list when the config names one that is a file (a tag is not)."""
    weights = config["embedding"]["weights"].get(ENCODERS.get(encoder, encoder), "")
    return [weights] if os.path.isfile(weights) else []


@functools.cache
def find_weights(encoder):
    """Stop, before the first job and in a dry run, when weights that this run's jobs need are not to be had."""
    name = ENCODERS[encoder]
    text, certain = preflight.weights(name, config["embedding"]["weights"].get(name, ""))
    if text and (certain or (workflow.local_exec and not workflow.dryrun)):
        logger.error(f"WorkflowError:\n{text}")
        raise SystemExit(1)  # Snakemake would wrap an exception in its own, with a traceback
    if text:  # a node of the cluster, or a later run, may reach what this machine does not
        print(f"warning: {text}", file=sys.stderr)


def embed_priority(wildcards):
    """0. Snakemake asks for the priorities of the jobs that this run needs, of no others, before it starts the first."""
    if workflow.is_main_process:  # jobs on a cluster read this file again
        find_weights(wildcards.encoder)
    return 0


def gpus(section):
    """How many accelerators a job of ``section`` takes."""
    return machine.accelerators(config[section]["device"], cluster=not HERE)


# --- memory and time --------------------------------------------------------------------------------------------------
# Each further try of a job asks for half as much again (`retries`, as in profiles/slurm). Where memory comes from the
# numbers of tiles, a dry run says <TBD> before those are known.


def growing(first):
    """A resource of which the first try of a job declares ``first`` (MB, minutes)."""
    return lambda wildcards, attempt: memory.raised(first, attempt)


def memory_limit():
    """MB that the jobs of this machine may take together; infinite where they run elsewhere."""
    here = HERE and not workflow.remote_exec
    return workflow.global_resources["mem_mb"].value if here else float("inf")


def features_limit():
    """Options that say when features are mapped from a file: as the config says, or where they don't fit here."""
    wanted = config["training"]["in_memory_gb"]
    return f"--memory-mb {memory_limit()}" if wanted == "auto" else f"--in-memory-gb {wanted}"


def in_memory(needed):
    """Bytes of features that may lie in memory, for a job that needs so many MB with all of them there."""
    wanted = config["training"]["in_memory_gb"]
    return memory.in_memory(needed, memory_limit()) if wanted == "auto" else wanted * 1e9


def training_memory(wildcards, input, attempt):
    """MB of a job that trains all methods of an encoder."""
    (dim, _), (sampled, tiles) = memory.of_index(input.index), memory.of_summary(input.summary)
    training = config["training"]
    what = sampled, tiles, dim, RUNS, training["members"], training["batch"]
    return memory.raised(memory.train(*what, in_memory(memory.train(*what))), attempt)


def split_bias_memory(wildcards, input, attempt):
    """MB of a job that reads and pools all slides of an encoder."""
    (dim, _), (sampled, tiles) = memory.of_index(input.index), memory.of_summary(input.summary)
    what = sampled, tiles, dim
    return memory.raised(memory.split_bias(*what, in_memory(memory.split_bias(*what))), attempt)


def localise_memory(wildcards, input, attempt):
    """MB of a job that scores all tiles of the test slides, one slide after another."""
    dim, tiles = memory.of_index(input.index)
    return memory.raised(memory.localise(tiles, dim, config["training"]["members"]), attempt)


# Jobs of this machine together take no more than it has, unless --resources mem_mb says otherwise.
if HERE and "mem_mb" not in workflow.global_resources:
    workflow.register_resource("mem_mb", machine.memory_mb())


# --- predictions by a bundle -------------------------------------------------------------------------------------------


def predicted():
    """What predict makes of every slide."""
    if not BUNDLE:
        raise WorkflowError(
            "config: predict.model and predict.slides are not both set: give a bundle and slides, as in "
            "--config 'predict={model: chowder_r5.zip, slides: /data/slides}'"
        )
    pictures = ("heatmap.png", "tiles.png", "tiles.geojson")
    return [f"{PREDICTED}/predictions.csv", *(f"{PREDICTED}/{slide}/{name}" for slide in SLIDES for name in pictures)]


def check_prediction():
    """Refuse a place that is a training run's, a machine that cannot embed, and slides that cannot give the tiles."""
    predicting.placed(RESULTS)
    predicting.computable(BUNDLE, gpus("embedding"))
    wrong = predicting.unreadable(SLIDES.values(), BUNDLE)
    if wrong:
        raise UserError(
            f"{config['predict']['slides']}: {len(wrong)} of {len(SLIDES)} slides cannot be used: {'; '.join(wrong[:5])}"
        )


if BUNDLE:
    PREDICTED = f"{RESULTS}/{BUNDLE.name}"
    if workflow.is_main_process:
        checked(check_prediction)


# --- downloads --------------------------------------------------------------------------------------------------------

SOURCE_KEYS = {"checksums.md5": "checksums.md5", "reference.csv": "evaluation/reference.csv"}
SOURCE_SHA256 = {
    file: f"--sha256 {pin}" if pin else ""
    for file, pin in zip(SOURCE_KEYS, (config["download"]["checksums_sha256"], config["download"]["reference_sha256"]))
}
BASE_URL = config["download"]["base_url"]
if SOURCE == "camelyon16":
    checked(preflight.address, BASE_URL)
    if preflight.shipped(WORKFLOW.parent):
        known = checked(cohort.read, preflight.shipped(WORKFLOW.parent), "{slide}", "")
        checked(preflight.camelyon16, SLIDES.values(), [row.slide for row in known], TABLE)
DOWNLOAD = {  # where a file comes from does not matter when its checksum is pinned
    "base": untracked(BASE_URL) if config["download"]["checksums_sha256"] else (lambda wildcards: BASE_URL),
    "settings": untracked(json.dumps(chosen("download.retries", "download.patience_min", "download.timeout_s"))),
}
LEVEL_SUMS = [path for path in (near(WORKFLOW.parent / "config/camelyon16_levels.csv"),) if os.path.isfile(path)]


def levels_read(wildcards):
    """An option that names the settings which decide what levels of a slide are read; nothing: it is fetched whole."""
    if config["download"]["levels"] == "all":
        return ""
    tiles = {key: config["tiles"][key] for key in ("size", "mpp", "resample")}
    reads = {"tissue_mpp": config["tissue"]["mpp"], "tiles": tiles, "mpp": SLIDES[wildcards.slide].mpp}
    return f"--levels-for {shlex.quote(json.dumps(reads, sort_keys=True))}"


def streamed(path):
    """A slide that is deleted when nothing needs it any more, in streaming mode."""
    return temp(path) if STREAMING else path


def pictured(wildcards):
    """What figures read a slide's pixels from: the slide, or where it is not kept, what was fetched for them alone."""
    if not PIXELS:
        return []
    if not STREAMING:
        return image(wildcards.slide)
    return f"{RESULTS}/figures/pixels/{wildcards.encoder}/{wildcards.method}/{wildcards.slide}.tif"


def fetch_order():
    """Groups of slides that are embedded together, in the order of fetching: what an earlier run has begun comes first."""
    begun = places.on_disk(f"{RESULTS}/slides", SLIDES)
    return sorted(next(iter(SHARDS.values())).values(), key=begun.isdisjoint)


FETCH_ORDER = fetch_order() if SOURCE == "camelyon16" else []
FETCH_PRIORITY = {slide: rank for rank, slide in enumerate(reversed([s for group in FETCH_ORDER for s in group]), 1)}


@functools.cache
def plan_fetches():
    """Tell the fetches of this run which slides its jobs read, and how many may be on the disk at a time."""
    paths = {path for job in workflow.dag.needrun_jobs(exclude_finished=False) for path in job.input}
    groups = [tuple(slide for slide in group if image(slide) in paths) for group in FETCH_ORDER]
    at_once = config["slides"]["at_once"] if STREAMING else len(SLIDES)
    going_on = workflow.execution_settings.keep_going
    plan = places.Plan(at_once, tuple(filter(None, groups)), going_on)
    places.write_plan(f"{RESULTS}/slides", plan)


def take_place(wildcards, threads):
    """Options of a fetch that waits for a place; which Snakemake it belongs to, and where the jobs run that it waits for.

    The first fetch of a run writes the plan. (Not ``onstart``: that of a module is not called.)
    """
    if workflow.is_main_process and not workflow.dryrun and getattr(workflow, "scheduler", None):
        plan_fetches()
    elsewhere = "slurm" if getattr(workflow.executor_plugin, "name", "").startswith("slurm") else "elsewhere"
    return f"--places --caller {os.getpid()} --jobs-run {'here' if workflow.local_exec else elsewhere}"


# --- on a node of a cluster -------------------------------------------------------------------------------------------


def share_the_node():
    """On a node: run the jobs of a group side by side, by one Snakemake, on the cores that Slurm has given.

    The Slurm plugin does not pass the groups on, and starts the jobs of a group one after another with a Snakemake each
    (snakemake-executor-plugin-slurm, issue 469). All that one Slurm job was sent to do is one group.
    """
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if workflow.remote_exec and given.isdigit():
        workflow.global_resources["_cores"] = int(given)
    if workflow.remote_exec and not HERE:
        for one in workflow.rules:
            one.group = all_of_this_slurm_job


def all_of_this_slurm_job(wildcards):
    """The group of every job on a node. (Snakemake sets the number of components after it has read the rules.)"""
    workflow.group_settings = dataclasses.replace(workflow.group_settings, group_components={"node": 10**6})
    return "node"


# --- jobs of this machine ---------------------------------------------------------------------------------------------
# Snakemake's limit on submissions per second is for clusters. In 9.27.1 every round of the scheduler starts a timer, every
# timer a round, and the last timers hold up the end of the run (docs/operations.md).

if HERE and workflow.is_main_process and hasattr(workflow.scheduling_settings, "max_jobs_per_timespan"):
    workflow.scheduling_settings.max_jobs_per_timespan = None

# --- a run that was killed --------------------------------------------------------------------------------------------

if workflow.is_main_process and not workflow.dryrun:
    if closed := failures.unwritable(RESULTS):  # Snakemake says so too, of the first file, in words of its own
        print(f"warning: results: {closed}", file=sys.stderr)
    said = lock.enter()
    if said:
        print(said, file=sys.stderr)

# --- the run's own record ---------------------------------------------------------------------------------------------

CONFIG = json.loads(json.dumps(config))
OVERRIDES = json.dumps(workflow.config_settings.overwrite_config)  # what the command line says of the config


def write_config():
    """The merged config of this run, beside its results."""
    from chowder.files import write_text
    import yaml

    write_text(f"{RESULTS}/config.yaml", yaml.safe_dump(CONFIG, sort_keys=False))


def print_failures(log):
    """Show what failed and what is kept, last on the screen."""
    for path in [log] if isinstance(log, str) else log:
        print(failures.summary(Path(path).read_text(encoding="utf-8", errors="replace")), file=sys.stderr)


wildcard_constraints:
    slide=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    encoder="|".join(re.escape(e) for e in ENCODERS),
    method="|".join(re.escape(m) for m in RUNS),
    shard=r"[A-Za-z0-9][A-Za-z0-9._-]*",
