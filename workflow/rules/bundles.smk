# Trained ensembles to take elsewhere: docs/predict.md.
# Needs: models/, the encoder's weights, previews/ and tissue/ of the training slides. Makes: bundles/<encoder>/<method>.zip.


rule encoder_identity:
    """What an encoder is here: weights' sha256, statistics, licence."""
    input:
        weights=lambda wildcards: checkpoint_of(wildcards.encoder),
    output:
        f"{RESULTS}/features/{{encoder}}/identity.json",
    log:
        f"{LOGS}/encoder_identity/{{encoder}}.log",
    priority: 2  # before anything long: it refuses an encoder that is not the bundle's
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        **code("encoder_identity", network),
        settings=embedding_settings,
        encoder=lambda wildcards: ENCODERS[wildcards.encoder],
        bundle=untracked(passing("--bundle", [BUNDLE.path] if BUNDLE else [])),
        wanted=labelled(BUNDLE.manifest["encoder"] if BUNDLE else {}),
    shell:
        "python {params.program:q}"
        " --encoder {params.encoder:q}"
        " --settings {params.settings:q} {params.bundle}"
        " --output {output:q}"
        " > {log:q} 2>&1"


if not BUNDLE:

    rule training_cohort:
        """What the training slides are like: tile counts, um/px, stain."""
        input:
            slides=f"{RESULTS}/slides.csv",
            previews=expand(f"{RESULTS}/previews/{{slide}}.jpg", slide=TRAIN or SLIDES),
            masks=expand(f"{RESULTS}/tissue/{{slide}}.png", slide=TRAIN or SLIDES),
            records=expand(f"{RESULTS}/tissue/{{slide}}.json", slide=TRAIN or SLIDES),
            tiles=expand(f"{RESULTS}/tiles/{{slide}}.parquet", slide=TRAIN or SLIDES),
        output:
            f"{RESULTS}/bundles/training_cohort.json",
        log:
            f"{LOGS}/training_cohort.log",
        resources:
            mem_mb=growing(2000),
            runtime=growing(60),
        params:
            **code("training_cohort"),
            settings=settings("sample.*"),
            tissue=lambda wildcards, input: os.path.dirname(input.masks[0]),
            previews=lambda wildcards, input: os.path.dirname(input.previews[0]),
            tiles=lambda wildcards, input: os.path.dirname(input.tiles[0]),
        shell:
            "python {params.program:q}"
            " --slides {input.slides:q}"
            " --tissue-dir {params.tissue:q}"
            " --previews-dir {params.previews:q}"
            " --tiles-dir {params.tiles:q}"
            " --settings {params.settings:q}"
            " --output {output:q}"
            " > {log:q} 2>&1"

    rule bundle:
        """A trained ensemble and all that is needed to run it on other slides, as one zip."""
        input:
            models=expand(f"{RESULTS}/models/{{{{encoder}}}}/{{{{method}}}}/{{split}}.pt", split=BUNDLED),
            identity=f"{RESULTS}/features/{{encoder}}/identity.json",
            index=f"{RESULTS}/features/{{encoder}}/index.json",
            cohort=f"{RESULTS}/bundles/training_cohort.json",
            scores=expand(f"{RESULTS}/tile_scores/{{{{encoder}}}}/{{{{method}}}}/{{slide}}.parquet", slide=TEST),
            auc=f"{RESULTS}/metrics/{{encoder}}/{{method}}/auc.json",
            froc=f"{RESULTS}/metrics/{{encoder}}/{{method}}/froc.json",
        output:
            f"{RESULTS}/bundles/{{encoder}}/{{method}}.zip",
        log:
            f"{LOGS}/bundle/{{encoder}}/{{method}}.log",
        resources:
            mem_mb=growing(1000),
            runtime=growing(15),
        params:
            **code("bundle", titles),
            settings=settings(
                "dataset",
                "seed",
                simulated=SIMULATED,
                **{section: config[section] for section in ("tissue", "tiles", "localisation")},
            ),
            training=training_settings,
            models=lambda wildcards, input: [f"{split}={path}" for split, path in zip(BUNDLED, input.models)],
        shell:
            "python {params.program:q}"
            " --method {wildcards.method}"
            " --models {params.models:q}"
            " --identity {input.identity:q}"
            " --index {input.index:q}"
            " --cohort {input.cohort:q}"
            " --scores {input.scores:q}"
            " --auc {input.auc:q}"
            " --froc {input.froc:q}"
            " --settings {params.settings:q}"
            " --training {params.training:q}"
            " --output {output:q}"
            " > {log:q} 2>&1"
