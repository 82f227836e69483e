# Features that another tool made, in place of slides, tissue, tiles and embedding; and ours in the layouts of other tools.
# Needs: feature files. Makes: features/, tiles/, tissue/, previews/ (source features); export/<encoder>/<layout>/.


if READY:

    ruleorder: ready_features > index_features
    ruleorder: ready_features > tiles
    ruleorder: ready_features > tissue

    rule ready_features:
        """Feature files of another tool as those of this workflow, with their tiles and blank previews."""
        input:
            table=TABLE,
            files=list(READY_FILES.values()),
        output:
            index=f"{RESULTS}/features/{READY_NAME}/index.json",
            features=expand(f"{RESULTS}/features/{READY_NAME}/{{slide}}.h5", slide=SLIDES),
            tiles=expand(f"{RESULTS}/tiles/{{slide}}.parquet", slide=SLIDES),
            masks=expand(f"{RESULTS}/tissue/{{slide}}.png", slide=SLIDES),
            records=expand(f"{RESULTS}/tissue/{{slide}}.json", slide=SLIDES),
            previews=expand(f"{RESULTS}/previews/{{slide}}.jpg", slide=SLIDES),
        log:
            f"{LOGS}/ready_features.log",
        resources:
            mem_mb=growing(4000),
            runtime=growing(120),
        params:
            **code("ready_features"),
            settings=settings(
                "features.name",
                "features.layout",
                "features.mpp",
                "features.tile_um",
                "features.tile_px",
                "features.without_places",
            ),
            slides=list(READY_FILES),
            sized=FROC_SLIDES,
            thumbnails=passing("--thumbnails", [path for path in [config["features"]["thumbnails"]] if path]),
            results=RESULTS,
        shell:
            "python {params.program:q}"
            " --slides-table {input.table:q}"
            " --slides {params.slides:q}"
            " --files {input.files:q}"
            " --sized {params.sized:q}"
            " --settings {params.settings:q} {params.thumbnails}"
            " --results {params.results:q}"
            " > {log:q} 2>&1"


rule export_features:
    """All feature files of an encoder in the layout of CLAM, TRIDENT or STAMP."""
    input:
        index=f"{RESULTS}/features/{{encoder}}/index.json",
        tiles=expand(f"{RESULTS}/tiles/{{slide}}.parquet", slide=SLIDES),
        records=expand(f"{RESULTS}/tissue/{{slide}}.json", slide=SLIDES),
    output:
        f"{RESULTS}/export/{{encoder}}/{{layout}}/slides.txt",
    log:
        f"{LOGS}/export_features/{{encoder}}/{{layout}}.log",
    wildcard_constraints:
        layout="clam|trident|stamp",
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        **code("export_features"),
        tiles=lambda wildcards, input: os.path.dirname(input.tiles[0]),
        records=lambda wildcards, input: os.path.dirname(input.records[0]),
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python {params.program:q}"
        " --index {input.index:q}"
        " --tiles-dir {params.tiles:q}"
        " --records-dir {params.records:q}"
        " --layout {wildcards.layout}"
        " --output {params.folder:q}"
        " --done {output:q}"
        " > {log:q} 2>&1"
