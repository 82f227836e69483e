# Slides and what is known of them.
# Needs: the slides table; for camelyon16 the public bucket or a mirror. Makes: slides/, annotations/, slides.csv.


rule slides_table:
    """The resolved slides table: every row checked, every optional column filled."""
    input:
        script=script("slides_table"),
        library=library("slides_table"),
        table=TABLE,
        reference=[f"{RESULTS}/source/reference.checked"] if SOURCE == "camelyon16" else [],
    output:
        f"{RESULTS}/slides.csv",
    log:
        f"{LOGS}/slides_table.log",
    params:
        settings=json.dumps(
            {
                "image": config["slides"]["image"],
                "annotation": config["slides"]["annotation"],
                "simulated": SIMULATED,
            }
        ),
        root=passing("--root", [ROOT] if ROOT is not None else []),
    resources:
        mem_mb=200,
        runtime=5,
    shell:
        "python {input.script} --table {input.table:q} {params.root} --settings {params.settings:q}"
        " --output {output:q} > {log:q} 2>&1"


if SIMULATED:

    rule simulate:
        """One simulated slide with its annotation."""
        input:
            script=script("simulate"),
            library=library("simulate"),
        output:
            image=f"{RESULTS}/slides/{{slide}}.tif",
            annotation=f"{RESULTS}/annotations/{{slide}}.xml",
        log:
            f"{LOGS}/simulate/{{slide}}.log",
        benchmark:
            f"{TIMES}/simulate/{{slide}}.tsv"
        params:
            settings=json.dumps({"seed": config["seed"]}),
            cls=lambda wildcards: SLIDES[wildcards.slide].cls,
            center=lambda wildcards: SLIDES[wildcards.slide].center,
        resources:
            mem_mb=1200,
            runtime=10,
        shell:
            "python {input.script} --slide {wildcards.slide} --class {params.cls:q} --center {params.center:q}"
            " --settings {params.settings:q} --image {output.image:q} --annotation {output.annotation:q}"
            " > {log:q} 2>&1"
