# What a user asks for, beside the rule all of the Snakefile.


rule features:
    """Feature files of all slides, and their index."""
    input:
        VERIFIED,
        expand(f"{RESULTS}/features/{{encoder}}/index.json", encoder=ENCODERS),


rule models:
    """Trained ensembles of every method and split, and their predictions."""
    input:
        VERIFIED,
        expand(
            f"{RESULTS}/predictions/{{encoder}}/{{method}}/{{split}}.csv",
            encoder=ENCODERS,
            method=METHODS,
            split=SPLITS,
        ),


rule benchmark:
    """The benchmark table as CSV, Markdown, LaTeX and HTML, and the second table of measures of use."""
    input:
        VERIFIED,
        expand(f"{RESULTS}/benchmark.{{form}}", form=["csv", "md", "tex", "html"]),
        expand(f"{RESULTS}/metrics.{{form}}", form=["csv", "md", "html"]),
        REPEATED,


rule figures:
    """The paper's figures as PNG and SVG."""
    input:
        VERIFIED,
        FIGURES,


rule bundles:
    """Every trained ensemble as a zip to take elsewhere, for predict (not part of all)."""
    input:
        VERIFIED,
        lambda wildcards: bundles_of_all(),


rule report:
    """One HTML file with the table, the figures, their captions and how they were made."""
    input:
        VERIFIED,
        f"{RESULTS}/report.html",


rule report_html:
    """Snakemake's own report of the table and figures, written by a second Snakemake that only reads."""
    input:
        table=f"{RESULTS}/benchmark.html",
        metrics=f"{RESULTS}/metrics.html",
        repeats=REPEATED,
        figures=FIGURES,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report_html.log",
    localrule: True
    resources:
        mem_mb=growing(800),
        runtime=growing(10),
    params:
        **code("report_html"),
        captions=CAPTIONS,
        snakefile=untracked(near(workflow.main_snakefile)),
        overrides=untracked(OVERRIDES),
    shell:
        "python {params.program:q}"
        " --snakefile {params.snakefile:q}"
        " --overrides {params.overrides:q}"
        " --targets {input.table:q} {input.metrics:q} {input.repeats:q} {input.figures:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"
