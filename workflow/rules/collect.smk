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


rule exports:
    """Tile scores of the slides in figures.heatmaps for viewers: GeoJSON for QuPath, XML for ASAP, every method."""
    input:
        expand(
            f"{RESULTS}/exports/{{encoder}}/{{method}}/{{slide}}.{{form}}",
            encoder=ENCODERS,
            method=METHODS,
            slide=DRAWN,
            form=["geojson", "xml"],
        ),


rule report:
    """The page to open first, and Snakemake's report of how every file was made."""
    input:
        VERIFIED,
        f"{RESULTS}/index.html",
        f"{RESULTS}/report.html",


rule overview:
    """The page to open first: answer, table, curves, warnings, heat maps of all test slides, figures, time, versions."""
    input:
        slides=f"{RESULTS}/slides.csv",
        summary=f"{RESULTS}/tiles/summary.csv",
        tests=f"{RESULTS}/tests.csv",
        auc=expand(f"{RESULTS}/metrics/{{encoder}}/{{method}}/auc.json", encoder=ENCODERS, method=METHODS),
        froc=expand(f"{RESULTS}/metrics/{{encoder}}/{{method}}/froc.json", encoder=ENCODERS, method=METHODS),
        timing=expand(f"{RESULTS}/models/{{encoder}}/{{method}}/timing.json", encoder=ENCODERS, method=METHODS),
        linked=[f"{RESULTS}/benchmark.html", f"{RESULTS}/metrics.html", *REPEATED],
        figures=FIGURES,
        previews=expand(f"{RESULTS}/previews/{{slide}}.jpg", slide=SLIDES),
        masks=expand(f"{RESULTS}/tissue/{{slide}}.png", slide=SLIDES),
        records=expand(f"{RESULTS}/tissue/{{slide}}.json", slide=SLIDES),
        tiles=expand(f"{RESULTS}/tiles/{{slide}}.parquet", slide=MAPPED),
        annotations=list(OUTLINED.values()),
        lesions=expand(
            f"{RESULTS}/metrics/{{encoder}}/{{method}}/lesions.csv",
            encoder=ENCODERS if MAPPED else [],
            method=config["figures"]["method"],
        ),
        predictions=expand(
            f"{RESULTS}/predictions/{{encoder}}/{{method}}/competition.csv",
            encoder=ENCODERS if MAPPED else [],
            method=config["figures"]["method"],
        ),
        scores=expand(
            f"{RESULTS}/tile_scores/{{encoder}}/{{method}}/{{slide}}.parquet",
            encoder=ENCODERS,
            method=config["figures"]["method"],
            slide=MAPPED,
        ),
    output:
        f"{RESULTS}/index.html",
    log:
        f"{LOGS}/overview.log",
    resources:
        mem_mb=growing(1000),
        runtime=growing(20),
    params:
        **code("overview", titles),
        **printed(NUMBERS),
        settings=table_settings(),
        entries=[f"{encoder}:{method}" for encoder in ENCODERS for method in METHODS],
        maps=[f"{encoder}:{config['figures']['method']}" for encoder in ENCODERS if MAPPED],
        captions_hash=CAPTIONS,
        captions=untracked(near(WORKFLOW / "report")),
        outlines=untracked([f"{slide}={path}" for slide, path in OUTLINED.items()]),
        pictures=untracked(json.dumps(PICTURES)),
        config=untracked(json.dumps(CONFIG)),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python {params.program:q}"
        " --entries {params.entries:q}"
        " --auc {input.auc:q}"
        " --froc {input.froc:q}"
        " --timing {input.timing:q}"
        " --slides {input.slides:q}"
        " --summary {input.summary:q}"
        " --tests {input.tests:q}"
        " --published {params.published:q}"
        " --settings {params.settings:q}"
        " --results {params.results:q}"
        " --maps {params.maps:q}"
        " --annotations {params.outlines:q}"
        " --figures {params.pictures:q}"
        " --captions {params.captions:q}"
        " --config {params.config:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"


rule doctor:
    """Look at this machine and the config: can the run work? Answered while the Snakefile is read (common.smk)."""
    log:
        f"{LOGS}/doctor.log",
    localrule: True
    resources:
        mem_mb=growing(300),
        runtime=growing(5),
    params:
        **program("doctor"),
        config=untracked(json.dumps(config)),
    shell:
        "python {params.program:q}" " --config {params.config:q}" " 2>&1 | tee {log:q}"


rule crate:
    """The run as a Workflow Run RO-Crate: workflow, config, slides table, table and figures in a zip (not part of all)."""
    input:
        slides=f"{RESULTS}/slides.csv",
        made=[
            *expand(f"{RESULTS}/benchmark.{{form}}", form=["csv", "md", "tex", "html"]),
            *expand(f"{RESULTS}/{{name}}.csv", name=["metrics", "tests"]),
            f"{RESULTS}/index.html",
            *FIGURES,
            *expand(
                f"{RESULTS}/predictions/{{encoder}}/{{method}}/{{split}}.csv",
                encoder=ENCODERS,
                method=METHODS,
                split=SPLITS,
            ),
        ],
    output:
        f"{RESULTS}/crate.zip",
    log:
        f"{LOGS}/crate.log",
    localrule: True
    resources:
        mem_mb=growing(200),
        runtime=growing(10),
    params:
        **code("crate"),
        workflow=untracked(near(WORKFLOW.parent)),
        config=lambda wildcards: json.dumps(CONFIG, sort_keys=True),
        results=lambda wildcards, output: os.path.dirname(output[0]),
        simulated="--simulated" if SIMULATED else "",
        version=VERSION,
    shell:
        "python {params.program:q}"
        " --workflow {params.workflow:q}"
        " --config {params.config:q}"
        " --results {params.results:q}"
        " --slides {input.slides:q}"
        " --made {input.made:q} {params.simulated}"
        " --version {params.version}"
        " --output {output:q}"
        " > {log:q} 2>&1"


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
        mem_mb=growing(450),
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
