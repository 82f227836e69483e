# The paper's figures, each as .png and .svg with the .csv that it was drawn from.
# Needs: metrics/, predictions/, tile_scores/, previews/. Makes: figures/.


rule figure_curves:
    """ROC and FROC of every method together, of each with its band, and of one as the paper draws it."""
    input:
        auc=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/auc.json", method=METHODS),
        froc=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/froc.json", method=METHODS),
        roc_curves=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/roc_curve.csv", method=METHODS),
        froc_curves=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/froc_curve.csv", method=METHODS),
    output:
        **figure("curves_{encoder}", "curves", "2 Curves", figure="ROC and FROC", encoder="{encoder}"),
        **figure("bands_{encoder}", "bands", "2 Curves", "bands_", figure="Bands of each method", encoder="{encoder}"),
        **figure("layout_{encoder}", "layout", "2 Curves", "layout_", figure="As in the paper", encoder="{encoder}"),
    log:
        f"{LOGS}/figure_curves/{{encoder}}.log",
    resources:
        mem_mb=growing(400),
        runtime=growing(10),
    params:
        **drawing("figure_curves", entries=titles),
        **printed(published.of_paper(NUMBERS, "auc", "froc")),
        methods=METHODS,
        main=config["figures"]["method"],
        bands=lambda wildcards, output: output.bands_png[:-4],
        layout=lambda wildcards, output: output.layout_png[:-4],
    shell:
        "python {params.program:q}"
        " --methods {params.methods:q}"
        " --auc {input.auc:q}"
        " --froc {input.froc:q}"
        " --roc-curves {input.roc_curves:q}"
        " --froc-curves {input.froc_curves:q}"
        " --published {params.published:q}"
        " --main {params.main}"
        " --bands-stem {params.bands:q}"
        " --layout-stem {params.layout:q}"
        " --settings {params.settings:q}"
        " --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


rule figure_reliability:
    """How well predicted probabilities agree with the share of tumour slides."""
    input:
        reliability=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/reliability.csv", method=METHODS),
    output:
        **figure("reliability_{encoder}", "reliability", "2 Curves", figure="Reliability", encoder="{encoder}"),
    log:
        f"{LOGS}/figure_reliability/{{encoder}}.log",
    resources:
        mem_mb=growing(350),
        runtime=growing(10),
    params:
        **drawing("figure_reliability", entries=titles),
        methods=METHODS,
    shell:
        "python {params.program:q}"
        " --methods {params.methods:q}"
        " --reliability {input.reliability:q}"
        " --settings {params.settings:q}"
        " --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


rule figure_lesion_sizes:
    """Share of the lesions found, by their size."""
    input:
        sizes=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/lesion_sizes.csv", method=METHODS),
    output:
        **figure(
            "lesion_sizes_{encoder}",
            "lesion_sizes",
            "2 Curves",
            figure="Sensitivity by lesion size",
            encoder="{encoder}",
        ),
    log:
        f"{LOGS}/figure_lesion_sizes/{{encoder}}.log",
    resources:
        mem_mb=growing(350),
        runtime=growing(10),
    params:
        **drawing("figure_lesion_sizes", entries=titles),
        methods=METHODS,
    shell:
        "python {params.program:q}"
        " --methods {params.methods:q}"
        " --sizes {input.sizes:q}"
        " --settings {params.settings:q}"
        " --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


rule figure_auc_r:
    """AUC against R."""
    input:
        auc=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/auc.json", method=METHODS),
    output:
        **figure("auc_r_{encoder}", "auc_r", "2 Curves", figure="AUC against R", encoder="{encoder}"),
    log:
        f"{LOGS}/figure_auc_r/{{encoder}}.log",
    resources:
        mem_mb=growing(350),
        runtime=growing(10),
    params:
        **drawing("figure_auc_r", entries=titles),
        **printed(published.with_r(NUMBERS)),
        methods=METHODS,
    shell:
        "python {params.program:q}"
        " --methods {params.methods:q}"
        " --auc {input.auc:q}"
        " --published {params.published:q}"
        " --settings {params.settings:q}"
        " --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


rule figure_ensemble:
    """AUC against the size of the ensemble."""
    input:
        sizes=expand(f"{RESULTS}/ensemble_size/{{{{encoder}}}}/{{method}}.csv", method=LEARNT),
    output:
        **figure("ensemble_{encoder}", "ensemble", "2 Curves", figure="AUC against ensemble size", encoder="{encoder}"),
    log:
        f"{LOGS}/figure_ensemble/{{encoder}}.log",
    resources:
        mem_mb=growing(350),
        runtime=growing(10),
    params:
        **drawing("figure_ensemble", entries=titles),
        methods=LEARNT,
    shell:
        "python {params.program:q}"
        " --methods {params.methods:q}"
        " --sizes {input.sizes:q}"
        " --settings {params.settings:q}"
        " --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


rule figure_split_bias:
    """How well the competition's split can be predicted."""
    input:
        bias=f"{RESULTS}/split_bias/{{encoder}}.csv",
    output:
        **figure("split_bias_{encoder}", "split_bias", "2 Curves", figure="Split bias", encoder="{encoder}"),
    log:
        f"{LOGS}/figure_split_bias/{{encoder}}.log",
    resources:
        mem_mb=growing(350),
        runtime=growing(10),
    params:
        **drawing("figure_split_bias"),
        **printed(published.of_paper(NUMBERS, "split_bias")),
    shell:
        "python {params.program:q}"
        " --bias {input.bias:q}"
        " --published {params.published:q}"
        " --settings {params.settings:q}"
        " --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


rule figure_training:
    """Loss per epoch of every learnt method."""
    input:
        curves=expand(f"{RESULTS}/curves/{{{{encoder}}}}/{{method}}/{SPLITS[0]}.csv", method=LEARNT),
    output:
        **figure("training_{encoder}", "training", "2 Curves", figure="Training loss", encoder="{encoder}"),
    log:
        f"{LOGS}/figure_training/{{encoder}}.log",
    resources:
        mem_mb=growing(400),
        runtime=growing(10),
    params:
        **drawing("figure_training", entries=titles),
        methods=LEARNT,
    shell:
        "python {params.program:q}"
        " --methods {params.methods:q}"
        " --curves {input.curves:q}"
        " --settings {params.settings:q}"
        " --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


if STREAMING:

    rule figure_pixels:
        """The pixels that heat map and gallery show of a slide that is not kept: a few MB of it."""
        input:
            preview=f"{RESULTS}/previews/{{slide}}.jpg",
            record=f"{RESULTS}/tissue/{{slide}}.json",
            tiles=f"{RESULTS}/tiles/{{slide}}.parquet",
            scores=f"{RESULTS}/tile_scores/{{encoder}}/{{method}}/{{slide}}.parquet",
            annotation=lambda wildcards: annotation(wildcards.slide),
        output:
            f"{RESULTS}/figures/pixels/{{encoder}}/{{method}}/{{slide}}.tif",
        log:
            f"{LOGS}/figure_pixels/{{encoder}}/{{method}}/{{slide}}.log",
        retries: 2
        localrule: True
        threads: 0  # it waits for the network
        resources:
            mem_mb=growing(800),
            runtime=growing(60),
            net=1,
        params:
            **code("figure_pixels", titles),
            settings=settings("figures.gallery"),
            base=untracked(BASE_URL),
            transfer=DOWNLOAD["settings"],
            key=lambda wildcards, threads: SLIDES[wildcards.slide].image,
            mpp=lambda wildcards: SLIDES[wildcards.slide].mpp,
        shell:
            "python {params.program:q}"
            " --base {params.base:q}"
            " --key {params.key:q}"
            " --slide {wildcards.slide}"
            " --method {wildcards.method}"
            " --mpp={params.mpp}"
            " --preview {input.preview:q}"
            " --record {input.record:q}"
            " --tiles {input.tiles:q}"
            " --scores {input.scores:q}"
            " --annotation {input.annotation:q}"
            " --settings {params.settings:q}"
            " --transfer {params.transfer:q}"
            " --output {output:q}"
            " > {log:q} 2>&1"


rule figure_heatmap:
    """Where the model looked: tile scores over a test slide, lesions outlined."""
    input:
        preview=f"{RESULTS}/previews/{{slide}}.jpg",
        record=f"{RESULTS}/tissue/{{slide}}.json",
        tiles=f"{RESULTS}/tiles/{{slide}}.parquet",
        scores=f"{RESULTS}/tile_scores/{{encoder}}/{{method}}/{{slide}}.parquet",
        predictions=f"{RESULTS}/predictions/{{encoder}}/{{method}}/competition.csv",
        all_scores=expand(f"{RESULTS}/tile_scores/{{{{encoder}}}}/{{{{method}}}}/{{slide}}.parquet", slide=TEST),
        image=pictured,
        annotation=lambda wildcards: annotation(wildcards.slide),
    output:
        **figure(
            "heatmap_{encoder}_{method}_{slide}",
            "heatmap",
            "3 Heat maps",
            slide="{slide}",
            method="{method}",
            encoder="{encoder}",
        ),
    log:
        f"{LOGS}/figure_heatmap/{{encoder}}/{{method}}/{{slide}}.log",
    resources:
        mem_mb=growing(900),
        runtime=growing(10),
    params:
        **drawing("figure_heatmap", "localisation.score", entries=titles),
        detail=lambda wildcards, input: passing("--image", [input.image] if input.image else []),
    shell:
        "python {params.program:q}"
        " --slide {wildcards.slide}"
        " --method {wildcards.method}"
        " --preview {input.preview:q}"
        " --record {input.record:q}"
        " --tiles {input.tiles:q}"
        " --scores {input.scores:q}"
        " --all-scores {input.all_scores:q}"
        " --predictions {input.predictions:q}"
        " {params.detail}"
        " --annotation {input.annotation:q}"
        " --settings {params.settings:q}"
        " --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


rule figure_gallery:
    """The highest and lowest tiles of a test slide."""
    input:
        image=pictured,
        tiles=f"{RESULTS}/tiles/{{slide}}.parquet",
        scores=f"{RESULTS}/tile_scores/{{encoder}}/{{method}}/{{slide}}.parquet",
        annotation=lambda wildcards: annotation(wildcards.slide),
    output:
        **figure(
            "gallery_{encoder}_{method}_{slide}",
            "gallery",
            "4 Tiles",
            slide="{slide}",
            method="{method}",
            encoder="{encoder}",
        ),
    log:
        f"{LOGS}/figure_gallery/{{encoder}}/{{method}}/{{slide}}.log",
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        **drawing("figure_gallery", "figures.gallery", entries=titles),
        mpp=lambda wildcards: SLIDES[wildcards.slide].mpp,
    shell:
        "python {params.program:q}"
        " --slide {wildcards.slide}"
        " --method {wildcards.method}"
        " --image {input.image:q}"
        " --mpp={params.mpp}"
        " --tiles {input.tiles:q}"
        " --scores {input.scores:q}"
        " --annotation {input.annotation:q}"
        " --settings {params.settings:q}"
        " --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


rule figure_matrix:
    """Quality and cost of every method on every encoder's features, with the paired tests."""
    input:
        auc=expand(f"{RESULTS}/metrics/{{encoder}}/{{method}}/auc.json", encoder=ENCODERS, method=METHODS),
        froc=expand(f"{RESULTS}/metrics/{{encoder}}/{{method}}/froc.json", encoder=ENCODERS, method=METHODS),
        timing=expand(f"{RESULTS}/models/{{encoder}}/{{method}}/timing.json", encoder=ENCODERS, method=METHODS),
        tests=f"{RESULTS}/tests.csv",
        indexes=expand(f"{RESULTS}/features/{{encoder}}/index.json", encoder=ENCODERS),
    output:
        **figure("matrix", "matrix", "1 Table", figure="Encoders and methods"),
        wide=f"{RESULTS}/matrix.csv",
    log:
        f"{LOGS}/figure_matrix.log",
    resources:
        mem_mb=growing(350),
        runtime=growing(10),
    params:
        **drawing(
            "figure_matrix",
            "evaluation.confidence",
            "evaluation.froc_mode",
            "evaluation.reference",
            entries=titles,
        ),
        entries=[f"{encoder}:{method}" for encoder in ENCODERS for method in METHODS],
        times=untracked(EMBED_TIMES),  # what is there of them: not inputs, or a deleted one would embed again
    shell:
        "python {params.program:q}"
        " --entries {params.entries:q}"
        " --auc {input.auc:q}"
        " --froc {input.froc:q}"
        " --timing {input.timing:q}"
        " --tests {input.tests:q}"
        " --indexes {input.indexes:q}"
        " --embed-times {params.times:q}"
        " --settings {params.settings:q}"
        " --csv {output.wide:q}"
        " --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


rule figure_tissue:
    """Contact sheet: every slide with the outline of its tissue mask, so that a person can check them in a minute."""
    input:
        previews=expand(f"{RESULTS}/previews/{{slide}}.jpg", slide=SLIDES),
        masks=expand(f"{RESULTS}/tissue/{{slide}}.png", slide=SLIDES),
        records=expand(f"{RESULTS}/tissue/{{slide}}.json", slide=SLIDES),
    output:
        **figure("tissue", "tissue", "5 Tissue", figure="Contact sheet of all slides"),
        pdf=f"{RESULTS}/figures/tissue.pdf",
    log:
        f"{LOGS}/figure_tissue.log",
    resources:
        mem_mb=growing(1000),
        runtime=growing(20),
    params:
        **drawing("figure_tissue"),
    shell:
        "python {params.program:q}"
        " --previews {input.previews:q}"
        " --masks {input.masks:q}"
        " --records {input.records:q}"
        " --pdf {output.pdf:q}"
        " --settings {params.settings:q}"
        " --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


rule export:
    """Tile scores of a slide for viewers: QuPath's GeoJSON, and the highest tiles as ASAP XML."""
    input:
        scores=f"{RESULTS}/tile_scores/{{encoder}}/{{method}}/{{slide}}.parquet",
        tiles=f"{RESULTS}/tiles/{{slide}}.parquet",
    output:
        geojson=f"{RESULTS}/exports/{{encoder}}/{{method}}/{{slide}}.geojson",
        xml=f"{RESULTS}/exports/{{encoder}}/{{method}}/{{slide}}.xml",
    log:
        f"{LOGS}/export/{{encoder}}/{{method}}/{{slide}}.log",
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        **code("export"),
    shell:
        "python {params.program:q}"
        " --slide {wildcards.slide}"
        " --scores {input.scores:q}"
        " --tiles {input.tiles:q}"
        " --geojson {output.geojson:q}"
        " --xml {output.xml:q}"
        " > {log:q} 2>&1"
