# The tile grid, and how many tiles of each slide a model is trained on.
# Needs: tissue masks. Makes: tiles/<slide>.parquet, tiles/summary.csv.


rule tiles:
    """Every tissue tile of one slide."""
    input:
        mask=f"{RESULTS}/tissue/{{slide}}.png",
        record=f"{RESULTS}/tissue/{{slide}}.json",
    output:
        f"{RESULTS}/tiles/{{slide}}.parquet",
    log:
        f"{LOGS}/tiles/{{slide}}.log",
    resources:
        mem_mb=growing(200),
        runtime=growing(10),
    params:
        **code("tiles"),
        settings=settings("tiles.*"),
    shell:
        "python {params.program:q}"
        " --slide {wildcards.slide}"
        " --mask {input.mask:q}"
        " --record {input.record:q}"
        " --settings {params.settings:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"


rule tile_summary:
    """Tiles and sample size M_S of every slide."""
    input:
        slides=f"{RESULTS}/slides.csv",
        tiles=expand(f"{RESULTS}/tiles/{{slide}}.parquet", slide=SLIDES),
    output:
        f"{RESULTS}/tiles/summary.csv",
    log:
        f"{LOGS}/tile_summary.log",
    localrule: True
    resources:
        mem_mb=growing(180),
        runtime=growing(10),
    params:
        **code("tile_summary"),
        settings=settings("sample.*"),
    shell:
        "python {params.program:q}"
        " --slides {input.slides:q}"
        " --tiles {input.tiles:q}"
        " --settings {params.settings:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"
