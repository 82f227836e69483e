# Tiles to feature vectors. All tissue tiles are embedded; the sample M_S is drawn at training time, so that a new slide
# which moves M_S costs no embedding. Needs: slides, tiles, weights. Makes: features/<encoder>/<slide>.h5, index.json.


rule embed:
    """Feature vectors of a shard of slides, in one process that starts the encoder once."""
    input:
        script=script("embed"),
        library=library("embed"),
        images=shard_images,
        tiles=shard_tiles,
        weights=lambda wildcards: checkpoint_of(wildcards.encoder),
    output:
        f"{RESULTS}/features/{{encoder}}/shards/{{shard}}.json",
    log:
        f"{LOGS}/embed/{{encoder}}/{{shard}}.log",
    benchmark:
        f"{TIMES}/embed/{{encoder}}/{{shard}}.tsv"
    threads: config["embedding"]["threads"]
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=gpus("embedding"),
    params:
        settings=labelled(config["embedding"] | config["tiles"]),
        encoder=lambda wildcards: ENCODERS[wildcards.encoder],
        slides=lambda wildcards: SHARDS[int(wildcards.shard)],
        mpp=lambda wildcards: [SLIDES[slide].mpp or "file" for slide in SHARDS[int(wildcards.shard)]],
        store=f"{RESULTS}/features/{{encoder}}/.store",
    shell:
        "python {input.script} --encoder {params.encoder:q} --slides {params.slides:q} --images {input.images:q}"
        " --tiles {input.tiles:q} --mpp {params.mpp:q} --settings {params.settings:q} --threads {threads}"
        " --store {params.store:q} --manifest {output:q} > {log:q} 2>&1"


rule features_file:
    """The feature file of one slide: the one that its shard made (a hard link: no second copy)."""
    input:
        script=script("features_file"),
        library=library("features_file"),
        shard=lambda wildcards: f"{RESULTS}/features/{wildcards.encoder}/shards/{SHARD_OF[wildcards.slide]}.json",
    output:
        f"{RESULTS}/features/{{encoder}}/{{slide}}.h5",
    log:
        f"{LOGS}/features_file/{{encoder}}/{{slide}}.log",
    resources:
        mem_mb=200,
        runtime=5,
    shell:
        "python {input.script} --shard {input.shard:q} --slide {wildcards.slide} --output {output:q} > {log:q} 2>&1"


rule index_features:
    """The one file that training depends on: each slide's feature file, tile count and checksum."""
    input:
        script=script("index_features"),
        library=library("index_features"),
        features=expand(f"{RESULTS}/features/{{{{encoder}}}}/{{slide}}.h5", slide=SLIDES),
    output:
        f"{RESULTS}/features/{{encoder}}/index.json",
    log:
        f"{LOGS}/index_features/{{encoder}}.log",
    resources:
        mem_mb=500,
        runtime=30,
    params:
        encoder=lambda wildcards: ENCODERS[wildcards.encoder],
    shell:
        "python {input.script} --encoder {params.encoder:q} --features {input.features:q} --output {output:q}"
        " > {log:q} 2>&1"
