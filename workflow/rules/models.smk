# From bags of features to slide predictions and tile scores.
# Needs: features/<encoder>/index.json, tiles/summary.csv. Makes: splits.json, models/, predictions/, curves/, tile_scores/,
# detections/. The first `train` job of an encoder trains all methods, so that the features are read once; what the others
# need is then in models/<encoder>/.store.


rule splits:
    """Which slides train and test: the competition split and stratified folds."""
    input:
        slides=f"{RESULTS}/slides.csv",
    output:
        f"{RESULTS}/splits.json",
    log:
        f"{LOGS}/splits.log",
    localrule: True
    resources:
        mem_mb=growing(80),
        runtime=growing(5),
    params:
        **code("splits"),
        settings=settings("cv.*", "seed"),
    shell:
        "python {params.program:q}"
        " --slides {input.slides:q}"
        " --settings {params.settings:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"


rule train:
    """One method on every split, and its predictions of the slides left out; trained here or with another method."""
    input:
        index=f"{RESULTS}/features/{{encoder}}/index.json",
        summary=f"{RESULTS}/tiles/summary.csv",
        slides=f"{RESULTS}/slides.csv",
        splits=f"{RESULTS}/splits.json",
    output:
        models=expand(f"{RESULTS}/models/{{{{encoder}}}}/{{{{method}}}}/{{split}}.pt", split=SPLITS),
        predictions=expand(f"{RESULTS}/predictions/{{{{encoder}}}}/{{{{method}}}}/{{split}}.csv", split=SPLITS),
        curves=expand(f"{RESULTS}/curves/{{{{encoder}}}}/{{{{method}}}}/{{split}}.csv", split=SPLITS),
        timing=f"{RESULTS}/models/{{encoder}}/{{method}}/timing.json",
    log:
        f"{LOGS}/train/{{encoder}}/{{method}}.log",
    benchmark:
        f"{TIMES}/train/{{encoder}}/{{method}}.tsv"
    threads: config["training"]["threads"]
    resources:
        mem_mb=training_memory,
        runtime=growing(240),
        gpu=gpus("training"),
        training=1,
    params:
        **code("train", estimator),
        settings=training_settings,
        together=lambda wildcards, threads: all_methods(),
        device=untracked(config["training"]["device"]),
        memory=lambda wildcards, threads: features_limit(),
        store=f"{RESULTS}/models/{{encoder}}/.store",
        models=lambda wildcards, output: [f"{split}={path}" for split, path in zip(SPLITS, output.models)],
        predictions=lambda wildcards, output: [f"{split}={path}" for split, path in zip(SPLITS, output.predictions)],
        curves=lambda wildcards, output: [f"{split}={path}" for split, path in zip(SPLITS, output.curves)],
    shell:
        "python {params.program:q}"
        " --method {wildcards.method}"
        " --index {input.index:q}"
        " --summary {input.summary:q}"
        " --slides {input.slides:q}"
        " --splits {input.splits:q}"
        " --settings {params.settings:q}"
        " --code {params.code:q}"
        " --together {params.together:q}"
        " --device {params.device}"
        " --threads {threads}"
        " {params.memory}"
        " --store {params.store:q}"
        " --models {params.models:q}"
        " --predictions {params.predictions:q}"
        " --curves {params.curves:q}"
        " --timing {output.timing:q}"
        " > {log:q} 2>&1"


rule localise:
    """Score every tissue tile of the test slides: the lesion scores and the challenge's detection files."""
    input:
        model=f"{RESULTS}/models/{{encoder}}/{{method}}/competition.pt",
        index=f"{RESULTS}/features/{{encoder}}/index.json",
        splits=f"{RESULTS}/splits.json",
        tiles=expand(f"{RESULTS}/tiles/{{slide}}.parquet", slide=TEST),
    output:
        scores=expand(f"{RESULTS}/tile_scores/{{{{encoder}}}}/{{{{method}}}}/{{slide}}.parquet", slide=TEST),
        detections=expand(f"{RESULTS}/detections/{{{{encoder}}}}/{{{{method}}}}/{{slide}}.csv", slide=TEST),
    log:
        f"{LOGS}/localise/{{encoder}}/{{method}}.log",
    benchmark:
        f"{TIMES}/localise/{{encoder}}/{{method}}.tsv"
    resources:
        mem_mb=localise_memory,
        runtime=growing(60),
    params:
        **code("localise", estimator),
        settings=settings("localisation.*"),
        tiles=lambda wildcards, input: os.path.dirname(input.tiles[0]),
        scores=lambda wildcards, output: os.path.dirname(output.scores[0]),
        detections=lambda wildcards, output: os.path.dirname(output.detections[0]),
    shell:
        "python {params.program:q}"
        " --method {wildcards.method}"
        " --model {input.model:q}"
        " --index {input.index:q}"
        " --splits {input.splits:q}"
        " --tiles-dir {params.tiles:q}"
        " --settings {params.settings:q}"
        " --scores-dir {params.scores:q}"
        " --detections-dir {params.detections:q}"
        " > {log:q} 2>&1"


rule split_bias:
    """Can a model tell the competition's test slides from its training slides? And those of random splits?"""
    input:
        index=f"{RESULTS}/features/{{encoder}}/index.json",
        summary=f"{RESULTS}/tiles/summary.csv",
        splits=f"{RESULTS}/splits.json",
    output:
        csv=f"{RESULTS}/split_bias/{{encoder}}.csv",
        json=f"{RESULTS}/split_bias/{{encoder}}.json",
    log:
        f"{LOGS}/split_bias/{{encoder}}.log",
    benchmark:
        f"{TIMES}/split_bias/{{encoder}}.tsv"
    resources:
        mem_mb=split_bias_memory,
        runtime=growing(60),
    params:
        **code("split_bias"),
        settings=settings("dataset", sample={"seed": config["seed"]}, split_bias={"seed": config["seed"]}),
        memory=lambda wildcards, threads: features_limit(),
    shell:
        "python {params.program:q}"
        " --index {input.index:q}"
        " --summary {input.summary:q}"
        " --splits {input.splits:q}"
        " --settings {params.settings:q}"
        " {params.memory}"
        " --output {output.csv:q}"
        " --json {output.json:q}"
        " > {log:q} 2>&1"


rule ensemble_size:
    """AUC against the number of networks averaged."""
    input:
        predictions=f"{RESULTS}/predictions/{{encoder}}/{{method}}/competition.csv",
    output:
        f"{RESULTS}/ensemble_size/{{encoder}}/{{method}}.csv",
    log:
        f"{LOGS}/ensemble_size/{{encoder}}/{{method}}.log",
    resources:
        mem_mb=growing(250),
        runtime=growing(10),
    params:
        **code("ensemble_size"),
        settings=settings("evaluation.confidence", "seed"),
    shell:
        "python {params.program:q}"
        " --predictions {input.predictions:q}"
        " --settings {params.settings:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"
