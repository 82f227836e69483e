# Where on a slide there is tissue.
# Needs: slides. Makes: tissue/<slide>.png (mask) and .json (thresholds, area, warnings), previews/<slide>.jpg.


rule tissue:
    """Tissue mask of one slide: Otsu on hue and saturation."""
    input:
        image=lambda wildcards: image(wildcards.slide),
    output:
        mask=f"{RESULTS}/tissue/{{slide}}.png",
        record=f"{RESULTS}/tissue/{{slide}}.json",
        preview=f"{RESULTS}/previews/{{slide}}.jpg",
    log:
        f"{LOGS}/tissue/{{slide}}.log",
    benchmark:
        f"{TIMES}/tissue/{{slide}}.tsv"
    resources:
        mem_mb=growing(220 if SIMULATED else 1000),
        runtime=growing(20),
    params:
        **code("tissue"),
        settings=settings("tissue.*"),
        mpp=lambda wildcards: SLIDES[wildcards.slide].mpp,
    shell:
        "python {params.program:q}"
        " --slide {wildcards.slide}"
        " --image {input.image:q}"
        " --mpp={params.mpp}"
        " --settings {params.settings:q}"
        " --mask {output.mask:q}"
        " --record {output.record:q}"
        " --preview {output.preview:q}"
        " > {log:q} 2>&1"
