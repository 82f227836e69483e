# From predictions and detections to numbers with intervals, and to the table.
# Needs: predictions/, detections/, annotations. Makes: lesions/, metrics/, tests.csv,
# benchmark.{csv,md,tex,html}.


rule lesions:
    """The lesions of one test slide by the official evaluation: the tumour mask at level 5, labelled."""
    input:
        record=f"{RESULTS}/tissue/{{slide}}.json",
        annotation=lambda wildcards: annotation(wildcards.slide),
    output:
        lesions=f"{RESULTS}/lesions/{{slide}}.npz",
        table=f"{RESULTS}/lesions/{{slide}}.csv",
    log:
        f"{LOGS}/lesions/{{slide}}.log",
    resources:
        mem_mb=growing(200),
        runtime=growing(15),
    params:
        **code("lesions"),
        settings=settings("evaluation.froc_mpp"),
    shell:
        "python {params.program:q}"
        " --slide {wildcards.slide}"
        " --record {input.record:q}"
        " --annotation {input.annotation:q}"
        " --settings {params.settings:q}"
        " --output {output.lesions:q}"
        " --table {output.table:q}"
        " > {log:q} 2>&1"


rule evaluate:
    """AUC and FROC of one method, with intervals."""
    input:
        slides=f"{RESULTS}/slides.csv",
        predictions=expand(f"{RESULTS}/predictions/{{{{encoder}}}}/{{{{method}}}}/{{split}}.csv", split=SPLITS),
        detections=expand(f"{RESULTS}/detections/{{{{encoder}}}}/{{{{method}}}}/{{slide}}.csv", slide=FROC_SLIDES),
        lesions=expand(f"{RESULTS}/lesions/{{slide}}.npz", slide=FROC_SLIDES),
    output:
        auc=f"{RESULTS}/metrics/{{encoder}}/{{method}}/auc.json",
        froc=f"{RESULTS}/metrics/{{encoder}}/{{method}}/froc.json",
        lesions=f"{RESULTS}/metrics/{{encoder}}/{{method}}/lesions.csv",
        roc_curve=f"{RESULTS}/metrics/{{encoder}}/{{method}}/roc_curve.csv",
        froc_curve=f"{RESULTS}/metrics/{{encoder}}/{{method}}/froc_curve.csv",
    log:
        f"{LOGS}/evaluate/{{encoder}}/{{method}}.log",
    benchmark:
        f"{TIMES}/evaluate/{{encoder}}/{{method}}.tsv"
    resources:
        mem_mb=growing(270),
        runtime=growing(60),
    params:
        **code("evaluate"),
        settings=settings("evaluation.bootstrap", "evaluation.confidence", "evaluation.froc_mode", "seed"),
        predictions=lambda wildcards, input: [f"{split}={path}" for split, path in zip(SPLITS, input.predictions)],
    shell:
        "python {params.program:q}"
        " --method {wildcards.method}"
        " --slides {input.slides:q}"
        " --predictions {params.predictions:q}"
        " --detections {input.detections:q}"
        " --lesions {input.lesions:q}"
        " --settings {params.settings:q}"
        " --auc {output.auc:q}"
        " --froc {output.froc:q}"
        " --lesion-table {output.lesions:q}"
        " --roc-curve {output.roc_curve:q}"
        " --froc-curve {output.froc_curve:q}"
        " > {log:q} 2>&1"


rule score:
    """The lesion score of another tool's detections on this dataset's test slides (evaluation.detections)."""
    input:
        slides=f"{RESULTS}/slides.csv",
        lesions=expand(f"{RESULTS}/lesions/{{slide}}.npz", slide=FROC_SLIDES),
        detections=lambda wildcards: strangers_detections("detections"),
        against=lambda wildcards: strangers_detections("against"),
    output:
        json=f"{RESULTS}/score/score.json",
        lesions=f"{RESULTS}/score/lesions.csv",
        curve=f"{RESULTS}/score/froc_curve.csv",
        figure=f"{RESULTS}/score/froc_curve.png",
    log:
        f"{LOGS}/score.log",
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        **code("score"),
        settings=settings(
            "evaluation.bootstrap", "evaluation.confidence", "evaluation.froc_mode", "evaluation.froc_mpp", "seed"
        ),
        detections=config["evaluation"]["detections"] or "",
        against=passing("--against", [path for path in [config["evaluation"]["against"]] if path]),
        lesions=lambda wildcards, input: os.path.dirname(input.lesions[0]),
    shell:
        "python {params.program:q}"
        " --detections {params.detections:q}"
        " {params.against}"
        " --lesions-dir {params.lesions:q}"
        " --slides {input.slides:q}"
        " --settings {params.settings:q}"
        " --output {output.json:q}"
        " --lesion-table {output.lesions:q}"
        " --froc-curve {output.curve:q}"
        " --figure {output.figure:q}"
        " > {log:q} 2>&1"


rule measure:
    """Average precision, sensitivity at a specificity, calibration, sensitivity by lesion size of one method."""
    input:
        slides=f"{RESULTS}/slides.csv",
        predictions=expand(f"{RESULTS}/predictions/{{{{encoder}}}}/{{{{method}}}}/{{split}}.csv", split=SPLITS),
        lesions=f"{RESULTS}/metrics/{{encoder}}/{{method}}/lesions.csv",
    output:
        json=f"{RESULTS}/metrics/{{encoder}}/{{method}}/measures.json",
        reliability=f"{RESULTS}/metrics/{{encoder}}/{{method}}/reliability.csv",
        sizes=f"{RESULTS}/metrics/{{encoder}}/{{method}}/lesion_sizes.csv",
    log:
        f"{LOGS}/measure/{{encoder}}/{{method}}.log",
    resources:
        mem_mb=growing(260),
        runtime=growing(15),
    params:
        **code("measure"),
        settings=settings("evaluation.bootstrap", "evaluation.confidence", "seed"),
        predictions=lambda wildcards, input: [f"{split}={path}" for split, path in zip(SPLITS, input.predictions)],
    shell:
        "python {params.program:q}"
        " --method {wildcards.method}"
        " --slides {input.slides:q}"
        " --predictions {params.predictions:q}"
        " --lesions {input.lesions:q}"
        " --settings {params.settings:q}"
        " --output {output.json:q}"
        " --reliability {output.reliability:q}"
        " --sizes {output.sizes:q}"
        " > {log:q} 2>&1"


rule metrics_table:
    """The second table: measures of use and sensitivity by lesion size, one row per method."""
    input:
        measures=expand(f"{RESULTS}/metrics/{{encoder}}/{{method}}/measures.json", encoder=ENCODERS, method=METHODS),
        sizes=expand(f"{RESULTS}/metrics/{{encoder}}/{{method}}/lesion_sizes.csv", encoder=ENCODERS, method=METHODS),
    output:
        csv=f"{RESULTS}/metrics.csv",
        markdown=f"{RESULTS}/metrics.md",
        html=report(
            f"{RESULTS}/metrics.html",
            caption="../report/metrics.rst",
            category="1 Table",
            labels={"format": "HTML, measures of use"},
        ),
    log:
        f"{LOGS}/metrics_table.log",
    resources:
        mem_mb=growing(280),
        runtime=growing(10),
    params:
        **code("metrics_table", titles),
        settings=settings("dataset", simulated=SIMULATED),
        entries=[f"{encoder}:{method}" for encoder in ENCODERS for method in METHODS],
    shell:
        "python {params.program:q}"
        " --entries {params.entries:q}"
        " --measures {input.measures:q}"
        " --sizes {input.sizes:q}"
        " --settings {params.settings:q}"
        " --csv {output.csv:q}"
        " --markdown {output.markdown:q}"
        " --html {output.html:q}"
        " > {log:q} 2>&1"


rule tests_table:
    """Paired tests of every method against the best one: test AUC, cross-validated AUC, FROC."""
    input:
        slides=f"{RESULTS}/slides.csv",
        predictions=expand(
            f"{RESULTS}/predictions/{{encoder}}/{{method}}/{{split}}.csv",
            encoder=ENCODERS,
            method=METHODS,
            split=SPLITS,
        ),
        detections=expand(
            f"{RESULTS}/detections/{{encoder}}/{{method}}/{{slide}}.csv",
            encoder=ENCODERS,
            method=METHODS,
            slide=FROC_SLIDES,
        ),
        lesions=expand(f"{RESULTS}/lesions/{{slide}}.npz", slide=FROC_SLIDES),
    output:
        f"{RESULTS}/tests.csv",
    log:
        f"{LOGS}/tests_table.log",
    benchmark:
        f"{TIMES}/tests_table.tsv"
    resources:
        mem_mb=growing(260),
        runtime=growing(60),
    params:
        **code("tests_table"),
        settings=settings(
            "evaluation.bootstrap", "evaluation.confidence", "evaluation.froc_mode", "evaluation.reference", "seed"
        ),
        entries=[f"{encoder}:{method}" for encoder in ENCODERS for method in METHODS],
        splits=SPLITS,
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python {params.program:q}"
        " --entries {params.entries:q}"
        " --splits {params.splits:q}"
        " --slides {input.slides:q}"
        " --predictions-dir {params.results:q}/predictions"
        " --detections-dir {params.results:q}/detections"
        " --lesions-dir {params.results:q}/lesions"
        " --settings {params.settings:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"


rule repeats_table:
    """Every method over the repeats of its training (training.repeats): mean, spread over repeats, over slides."""
    input:
        slides=f"{RESULTS}/slides.csv",
        predictions=expand(
            f"{RESULTS}/predictions/{{encoder}}/{{method}}/{{split}}.csv",
            encoder=ENCODERS,
            method=RUNS,
            split=SPLITS,
        ),
        detections=expand(
            f"{RESULTS}/detections/{{encoder}}/{{method}}/{{slide}}.csv",
            encoder=ENCODERS,
            method=RUNS,
            slide=FROC_SLIDES,
        ),
        lesions=expand(f"{RESULTS}/lesions/{{slide}}.npz", slide=FROC_SLIDES),
    output:
        csv=f"{RESULTS}/repeats.csv",
        markdown=f"{RESULTS}/repeats.md",
        html=report(
            f"{RESULTS}/repeats.html",
            caption="../report/repeats.rst",
            category="1 Table",
            labels={"format": "HTML, repeats"},
        ),
    log:
        f"{LOGS}/repeats_table.log",
    resources:
        mem_mb=growing(400),
        runtime=growing(60),
    params:
        **code("repeats_table", titles),
        settings=settings(
            "dataset",
            "evaluation.bootstrap",
            "evaluation.confidence",
            "evaluation.froc_mode",
            "seed",
            simulated=SIMULATED,
        ),
        entries=[f"{encoder}:{method}" for encoder in ENCODERS for method in METHODS],
        repeats=REPEATS,
        splits=SPLITS,
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python {params.program:q}"
        " --entries {params.entries:q}"
        " --repeats {params.repeats}"
        " --splits {params.splits:q}"
        " --slides {input.slides:q}"
        " --predictions-dir {params.results:q}/predictions"
        " --detections-dir {params.results:q}/detections"
        " --lesions-dir {params.results:q}/lesions"
        " --settings {params.settings:q}"
        " --csv {output.csv:q}"
        " --markdown {output.markdown:q}"
        " --html {output.html:q}"
        " > {log:q} 2>&1"


rule benchmark_table:
    """The benchmark table: one row per method, the paper's figures beside ours."""
    input:
        slides=f"{RESULTS}/slides.csv",
        summary=f"{RESULTS}/tiles/summary.csv",
        tests=f"{RESULTS}/tests.csv",
        auc=expand(f"{RESULTS}/metrics/{{encoder}}/{{method}}/auc.json", encoder=ENCODERS, method=METHODS),
        froc=expand(f"{RESULTS}/metrics/{{encoder}}/{{method}}/froc.json", encoder=ENCODERS, method=METHODS),
        timing=expand(f"{RESULTS}/models/{{encoder}}/{{method}}/timing.json", encoder=ENCODERS, method=METHODS),
    output:
        csv=report(
            f"{RESULTS}/benchmark.csv", caption="../report/table.rst", category="1 Table", labels={"format": "CSV"}
        ),
        markdown=f"{RESULTS}/benchmark.md",
        latex=f"{RESULTS}/benchmark.tex",
        html=report(
            f"{RESULTS}/benchmark.html",
            caption="../report/table.rst",
            category="1 Table",
            labels={"format": "HTML, sortable"},
        ),
    log:
        f"{LOGS}/benchmark_table.log",
    resources:
        mem_mb=growing(400),
        runtime=growing(10),
    params:
        **code("benchmark_table", titles),
        **printed(NUMBERS),
        settings=table_settings(),
        entries=[f"{encoder}:{method}" for encoder in ENCODERS for method in METHODS],
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
        " --csv {output.csv:q}"
        " --markdown {output.markdown:q}"
        " --latex {output.latex:q}"
        " --html {output.html:q}"
        " > {log:q} 2>&1"
