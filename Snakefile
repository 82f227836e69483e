# The front door: `snakemake --cores all` works from here. The workflow itself is workflow/Snakefile.
include: "workflow/Snakefile"


rule everything:
    """Everything: table, figures, report (the default)."""
    default_target: True
    input:
        rules.all.input,
