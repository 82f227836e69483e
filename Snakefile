# CHOWDER and its baselines on whole slides, from slide labels alone (Courtiol et al., arXiv 1802.02212).
# This is the whole workflow: the config is read and checked, the rules follow in the order of the data.
# The rule all stands here because Snakemake takes no default target from an included file.
# Try `snakemake --list-rules` for a table of contents and `snakemake --cores all` to run the demo.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


container: "envs/chowder.sif"  # made from envs/chowder.def; used with --sdm apptainer alone


include: "workflow/rules/common.smk"
include: "workflow/rules/slides.smk"
include: "workflow/rules/tissue.smk"
include: "workflow/rules/tiles.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/collect.smk"


rule all:
    """Everything: table, figures, report (the default)."""
    input:
        f"{RESULTS}/benchmark.html",
        FIGURES,
        f"{RESULTS}/report.html",


report: "workflow/report/workflow.rst"


onstart:
    write_config()
