# The viewer: slides to look at, with the scores of every method. Not part of `all`: ask for it by its name.
# Needs: slides, tile_scores/, predictions/, annotations. Makes: viewer/index.html and what lies beside it.


rule viewer_pyramid:
    """A slide as a pyramid of JPEG tiles."""
    input:
        image=lambda wildcards: image(wildcards.slide),
        record=f"{RESULTS}/tissue/{{slide}}.json",
    output:
        f"{RESULTS}/viewer/pyramids/{{slide}}.json",
    log:
        f"{LOGS}/viewer_pyramid/{{slide}}.log",
    resources:
        mem_mb=growing(500),
        runtime=growing(60),
    params:
        **code("viewer_pyramid"),
        mpp=config["figures"]["viewer_mpp"],
        tiles=lambda wildcards, output: output[0][: -len(".json")],
    shell:
        "python {params.program:q}"
        " --image {input.image:q}"
        " --record {input.record:q}"
        " --mpp {params.mpp}"
        " --tiles {params.tiles:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"


rule viewer:
    """Pages for looking at slides with the tile scores of every method (viewer/index.html, open it from the disk)."""
    input:
        **viewed_results(),
        pyramids=expand(f"{RESULTS}/viewer/pyramids/{{slide}}.json", slide=VIEWED),
        records=expand(f"{RESULTS}/tissue/{{slide}}.json", slide=VIEWED),
        masks=expand(f"{RESULTS}/tissue/{{slide}}.png", slide=VIEWED),
        previews=expand(f"{RESULTS}/previews/{{slide}}.jpg", slide=VIEWED),
        tiles=expand(f"{RESULTS}/tiles/{{slide}}.parquet", slide=VIEWED),
        annotations=[path for slide in VIEWED for path in annotation(slide)],
    output:
        f"{RESULTS}/viewer/index.html",
    log:
        f"{LOGS}/viewer.log",
    resources:
        mem_mb=growing(900),
        runtime=growing(30),
    params:
        **code("viewer", titles),
        page=VIEWER_PAGE,
        slides=VIEWED,
        predictions=lambda wildcards, input: [f"{m}={path}" for m, path in zip(METHODS, input.predictions)],
        scores=lambda wildcards, input: [
            f"{m}={os.path.dirname(path)}" for m, path in zip(METHODS, input.scores[:: len(VIEWED)])
        ],
        annotations=[f"{slide}={path}" for slide in VIEWED for path in annotation(slide)],
        tissue=lambda wildcards, input: os.path.dirname(input.masks[0]),
        previews=lambda wildcards, input: os.path.dirname(input.previews[0]),
        tiles=lambda wildcards, input: os.path.dirname(input.tiles[0]),
        pyramids=lambda wildcards, input: os.path.dirname(input.pyramids[0]),
        settings=settings("dataset", "figures.method", simulated=SIMULATED, note=VIEWER_NOTE),
    shell:
        "python {params.program:q}"
        " --slides {params.slides:q}"
        " --predictions {params.predictions:q}"
        " --scores {params.scores:q}"
        " --annotations {params.annotations:q}"
        " --tissue-dir {params.tissue:q}"
        " --previews-dir {params.previews:q}"
        " --tiles-dir {params.tiles:q}"
        " --pyramids-dir {params.pyramids:q}"
        " --settings {params.settings:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"
