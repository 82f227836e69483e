# Tiles to feature vectors. All tissue tiles are embedded; the sample M_S is drawn at training time, so that a new slide
# which moves M_S costs no embedding. Needs: slides, tiles, weights. Makes: features/<encoder>/<slide>.h5, index.json.


rule embed:
    """Feature vectors of a shard of slides, in one process that starts the encoder once."""
    input:
        images=lambda wildcards: [image(slide) for slide in shard(wildcards)],
        tiles=lambda wildcards: [f"{RESULTS}/tiles/{slide}.parquet" for slide in shard(wildcards)],
        weights=lambda wildcards: checkpoint_of(wildcards.encoder),
        identity=[f"{RESULTS}/features/{{encoder}}/identity.json"] if BUNDLE else [],
    output:
        f"{RESULTS}/features/{{encoder}}/shards/{{shard}}.json",
    log:
        f"{LOGS}/embed/{{encoder}}/{{shard}}.log",
    benchmark:
        f"{TIMES}/embed/{{encoder}}/{{shard}}.tsv"
    priority: embed_priority
    threads: config["embedding"]["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=gpus("embedding"),
    params:
        **code("embed", network),
        settings=embedding_settings,
        batch=untracked(config["embedding"]["batch"]),
        device=untracked(config["embedding"]["device"]),
        encoder=lambda wildcards: ENCODERS[wildcards.encoder],
        slides=shard,
        mpp=lambda wildcards: [SLIDES[slide].mpp or "file" for slide in shard(wildcards)],
        records=untracked(passing("--records", [f"{RESULTS}/source/slides"] if SOURCE == "camelyon16" else [])),
        store=f"{RESULTS}/features/{{encoder}}/.store",
    shell:
        "python {params.program:q}"
        " --encoder {params.encoder:q}"
        " --slides {params.slides:q}"
        " --images {input.images:q}"
        " --tiles {input.tiles:q}"
        " --mpp {params.mpp:q} {params.records}"
        " --settings {params.settings:q}"
        " --batch {params.batch}"
        " --device {params.device}"
        " --threads {threads}"
        " --store {params.store:q}"
        " --manifest {output:q}"
        " > {log:q} 2>&1"


rule index_features:
    """Feature file of every slide, out of the store, and their index: the one file that training depends on."""
    input:
        shards=lambda wildcards: [
            f"{RESULTS}/features/{wildcards.encoder}/shards/{name}.json" for name in SHARDS[wildcards.encoder]
        ],
    output:
        index=f"{RESULTS}/features/{{encoder}}/index.json",
        features=expand(f"{RESULTS}/features/{{{{encoder}}}}/{{slide}}.h5", slide=SLIDES),
    log:
        f"{LOGS}/index_features/{{encoder}}.log",
    resources:
        mem_mb=growing(120),
        runtime=growing(60),
    params:
        **code("index_features"),
        encoder=lambda wildcards: ENCODERS[wildcards.encoder],
        slides=list(SLIDES),
    shell:
        "python {params.program:q}"
        " --encoder {params.encoder:q}"
        " --shards {input.shards:q}"
        " --slides {params.slides:q}"
        " --output {output.index:q}"
        " > {log:q} 2>&1"
