# The paper's figures, each as .png and .svg with the .csv that it was drawn from.
# Needs: metrics/, predictions/, tile_scores/, previews/. Makes: figures/.


rule figure_curves:
    """ROC (left) and FROC (right) of every method."""
    input:
        script=script("figure_curves"),
        library=library("figure_curves"),
        auc=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/auc.json", method=METHODS),
        froc=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/froc.json", method=METHODS),
        roc_curves=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/roc_curve.csv", method=METHODS),
        froc_curves=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/froc_curve.csv", method=METHODS),
    output:
        png=report(
            f"{RESULTS}/figures/curves_{{encoder}}.png",
            caption="../report/curves.rst",
            category="2 Curves",
            labels={"figure": "ROC and FROC", "encoder": "{encoder}"},
        ),
        svg=f"{RESULTS}/figures/curves_{{encoder}}.svg",
        csv=f"{RESULTS}/figures/curves_{{encoder}}.csv",
    log:
        f"{LOGS}/figure_curves/{{encoder}}.log",
    resources:
        mem_mb=800,
        runtime=10,
    params:
        settings=FIGURE_SETTINGS,
        methods=METHODS,
        stem=lambda wildcards, output: output.png[:-4],
    shell:
        "python {input.script} --methods {params.methods:q} --auc {input.auc:q} --froc {input.froc:q}"
        " --roc-curves {input.roc_curves:q} --froc-curves {input.froc_curves:q} --settings {params.settings:q}"
        " --output-stem {params.stem:q} > {log:q} 2>&1"


rule figure_auc_r:
    """AUC against R."""
    input:
        script=script("figure_auc_r"),
        library=library("figure_auc_r"),
        auc=expand(f"{RESULTS}/metrics/{{{{encoder}}}}/{{method}}/auc.json", method=METHODS),
    output:
        png=report(
            f"{RESULTS}/figures/auc_r_{{encoder}}.png",
            caption="../report/auc_r.rst",
            category="2 Curves",
            labels={"figure": "AUC against R", "encoder": "{encoder}"},
        ),
        svg=f"{RESULTS}/figures/auc_r_{{encoder}}.svg",
        csv=f"{RESULTS}/figures/auc_r_{{encoder}}.csv",
    log:
        f"{LOGS}/figure_auc_r/{{encoder}}.log",
    resources:
        mem_mb=800,
        runtime=10,
    params:
        settings=FIGURE_SETTINGS,
        methods=METHODS,
        stem=lambda wildcards, output: output.png[:-4],
    shell:
        "python {input.script} --methods {params.methods:q} --auc {input.auc:q} --settings {params.settings:q}"
        " --output-stem {params.stem:q} > {log:q} 2>&1"


rule figure_ensemble:
    """AUC against the size of the ensemble."""
    input:
        script=script("figure_ensemble"),
        library=library("figure_ensemble"),
        sizes=expand(f"{RESULTS}/ensemble_size/{{{{encoder}}}}/{{method}}.csv", method=LEARNT),
    output:
        png=report(
            f"{RESULTS}/figures/ensemble_{{encoder}}.png",
            caption="../report/ensemble.rst",
            category="2 Curves",
            labels={"figure": "AUC against ensemble size", "encoder": "{encoder}"},
        ),
        svg=f"{RESULTS}/figures/ensemble_{{encoder}}.svg",
        csv=f"{RESULTS}/figures/ensemble_{{encoder}}.csv",
    log:
        f"{LOGS}/figure_ensemble/{{encoder}}.log",
    resources:
        mem_mb=800,
        runtime=10,
    params:
        settings=FIGURE_SETTINGS,
        methods=LEARNT,
        stem=lambda wildcards, output: output.png[:-4],
    shell:
        "python {input.script} --methods {params.methods:q} --sizes {input.sizes:q} --settings {params.settings:q}"
        " --output-stem {params.stem:q} > {log:q} 2>&1"


rule figure_split_bias:
    """How well the competition's split can be predicted."""
    input:
        script=script("figure_split_bias"),
        library=library("figure_split_bias"),
        bias=f"{RESULTS}/split_bias/{{encoder}}.csv",
    output:
        png=report(
            f"{RESULTS}/figures/split_bias_{{encoder}}.png",
            caption="../report/split_bias.rst",
            category="2 Curves",
            labels={"figure": "Split bias", "encoder": "{encoder}"},
        ),
        svg=f"{RESULTS}/figures/split_bias_{{encoder}}.svg",
        csv=f"{RESULTS}/figures/split_bias_{{encoder}}.csv",
    log:
        f"{LOGS}/figure_split_bias/{{encoder}}.log",
    resources:
        mem_mb=800,
        runtime=10,
    params:
        settings=FIGURE_SETTINGS,
        stem=lambda wildcards, output: output.png[:-4],
    shell:
        "python {input.script} --bias {input.bias:q} --settings {params.settings:q} --output-stem {params.stem:q}"
        " > {log:q} 2>&1"


rule figure_training:
    """Loss per epoch of every learnt method."""
    input:
        script=script("figure_training"),
        library=library("figure_training"),
        curves=expand(f"{RESULTS}/curves/{{{{encoder}}}}/{{method}}/{SPLITS[0]}.csv", method=LEARNT),
    output:
        png=report(
            f"{RESULTS}/figures/training_{{encoder}}.png",
            caption="../report/training.rst",
            category="2 Curves",
            labels={"figure": "Training loss", "encoder": "{encoder}"},
        ),
        svg=f"{RESULTS}/figures/training_{{encoder}}.svg",
        csv=f"{RESULTS}/figures/training_{{encoder}}.csv",
    log:
        f"{LOGS}/figure_training/{{encoder}}.log",
    resources:
        mem_mb=800,
        runtime=10,
    params:
        settings=FIGURE_SETTINGS,
        methods=LEARNT,
        stem=lambda wildcards, output: output.png[:-4],
    shell:
        "python {input.script} --methods {params.methods:q} --curves {input.curves:q} --settings {params.settings:q}"
        " --output-stem {params.stem:q} > {log:q} 2>&1"


rule figure_heatmap:
    """Where the model looked: tile scores over a test slide, lesions outlined."""
    input:
        script=script("figure_heatmap"),
        library=library("figure_heatmap"),
        preview=f"{RESULTS}/previews/{{slide}}.jpg",
        record=f"{RESULTS}/tissue/{{slide}}.json",
        tiles=f"{RESULTS}/tiles/{{slide}}.parquet",
        scores=f"{RESULTS}/tile_scores/{{encoder}}/{{method}}/{{slide}}.parquet",
        predictions=f"{RESULTS}/predictions/{{encoder}}/{{method}}/competition.csv",
        all_scores=expand(f"{RESULTS}/tile_scores/{{{{encoder}}}}/{{{{method}}}}/{{slide}}.parquet", slide=TEST),
        image=lambda wildcards: image(wildcards.slide),
        annotation=lambda wildcards: annotation(wildcards.slide),
    output:
        png=report(
            f"{RESULTS}/figures/heatmap_{{encoder}}_{{method}}_{{slide}}.png",
            caption="../report/heatmap.rst",
            category="3 Heat maps",
            labels={"slide": "{slide}", "method": "{method}", "encoder": "{encoder}"},
        ),
        svg=f"{RESULTS}/figures/heatmap_{{encoder}}_{{method}}_{{slide}}.svg",
        csv=f"{RESULTS}/figures/heatmap_{{encoder}}_{{method}}_{{slide}}.csv",
    log:
        f"{LOGS}/figure_heatmap/{{encoder}}/{{method}}/{{slide}}.log",
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        settings=FIGURE_SETTINGS,
        stem=lambda wildcards, output: output.png[:-4],
    shell:
        "python {input.script} --slide {wildcards.slide} --method {wildcards.method} --preview {input.preview:q}"
        " --record {input.record:q} --tiles {input.tiles:q} --scores {input.scores:q} --all-scores {input.all_scores:q}"
        " --predictions {input.predictions:q} --image {input.image:q} --annotation {input.annotation:q}"
        " --settings {params.settings:q} --output-stem {params.stem:q} > {log:q} 2>&1"


rule figure_gallery:
    """The highest and lowest tiles of a test slide."""
    input:
        script=script("figure_gallery"),
        library=library("figure_gallery"),
        image=lambda wildcards: image(wildcards.slide),
        tiles=f"{RESULTS}/tiles/{{slide}}.parquet",
        scores=f"{RESULTS}/tile_scores/{{encoder}}/{{method}}/{{slide}}.parquet",
        annotation=lambda wildcards: annotation(wildcards.slide),
    output:
        png=report(
            f"{RESULTS}/figures/gallery_{{encoder}}_{{method}}_{{slide}}.png",
            caption="../report/gallery.rst",
            category="4 Tiles",
            labels={"slide": "{slide}", "method": "{method}", "encoder": "{encoder}"},
        ),
        svg=f"{RESULTS}/figures/gallery_{{encoder}}_{{method}}_{{slide}}.svg",
        csv=f"{RESULTS}/figures/gallery_{{encoder}}_{{method}}_{{slide}}.csv",
    log:
        f"{LOGS}/figure_gallery/{{encoder}}/{{method}}/{{slide}}.log",
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        settings=FIGURE_SETTINGS,
        mpp=lambda wildcards: SLIDES[wildcards.slide].mpp,
        stem=lambda wildcards, output: output.png[:-4],
    shell:
        "python {input.script} --slide {wildcards.slide} --method {wildcards.method} --image {input.image:q}"
        " --mpp={params.mpp} --tiles {input.tiles:q} --scores {input.scores:q}"
        " --annotation {input.annotation:q} --settings {params.settings:q} --output-stem {params.stem:q} > {log:q} 2>&1"


rule figure_tissue:
    """Contact sheet: every slide with the outline of its tissue mask, so that a person can check them in a minute."""
    input:
        script=script("figure_tissue"),
        library=library("figure_tissue"),
        previews=expand(f"{RESULTS}/previews/{{slide}}.jpg", slide=SLIDES),
        masks=expand(f"{RESULTS}/tissue/{{slide}}.png", slide=SLIDES),
        records=expand(f"{RESULTS}/tissue/{{slide}}.json", slide=SLIDES),
    output:
        png=report(
            f"{RESULTS}/figures/tissue.png",
            caption="../report/tissue.rst",
            category="5 Tissue",
            labels={"figure": "Contact sheet of all slides"},
        ),
        svg=f"{RESULTS}/figures/tissue.svg",
        csv=f"{RESULTS}/figures/tissue.csv",
    log:
        f"{LOGS}/figure_tissue.log",
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        settings=FIGURE_SETTINGS,
        stem=lambda wildcards, output: output.png[:-4],
    shell:
        "python {input.script} --previews {input.previews:q} --masks {input.masks:q} --records {input.records:q}"
        " --settings {params.settings:q} --output-stem {params.stem:q} > {log:q} 2>&1"
