# Slides and what is known of them.
# Needs: the slides table; for camelyon16 the public bucket or a mirror. Makes: slides/, annotations/, slides.csv.


rule slides_table:
    """The resolved slides table: every row checked, every optional column filled."""
    input:
        table=ancient(TABLE),  # what it says is compared below: another md5 or order of columns reruns nothing
        labels=[ancient(path) for path in LABELS],
        reference=[f"{RESULTS}/source/reference.checked"] if SOURCE == "camelyon16" else [],
    output:
        f"{RESULTS}/slides.csv",
    log:
        f"{LOGS}/slides_table.log",
    localrule: True
    resources:
        mem_mb=growing(45),
        runtime=growing(5),
    params:
        **code("slides_table"),
        settings=settings(
            "slides.image",
            "slides.annotation",
            simulated=SIMULATED,
            rows=RESOLVED,
            **({"without_places": config["features"]["without_places"]} if READY else {}),
        ),
        root=passing("--root", [ROOT] if ROOT is not None else []),
        labels=passing("--labels", LABELS),
        outlines=passing("--outlines", [OUTLINES] if READY else []),
    shell:
        "python {params.program:q}"
        " --table {input.table:q} {params.root} {params.labels} {params.outlines}"
        " --settings {params.settings:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"


if VERIFIED:

    rule verify_slide:
        """The md5 of a slide's file is the one in the slides table."""
        input:
            image=lambda wildcards: image(wildcards.slide),
        output:
            f"{RESULTS}/verified/{{slide}}.json",
        log:
            f"{LOGS}/verify_slide/{{slide}}.log",
        priority: 1  # before anything is computed from the slide
        resources:
            mem_mb=growing(200),
            runtime=growing(60),
        params:
            **program("verify_slide"),
            md5=lambda wildcards: SLIDES[wildcards.slide].md5,
            state=lambda wildcards: state_of(image(wildcards.slide)),
        shell:
            "python {params.program:q}"
            " --slide {wildcards.slide}"
            " --image {input.image:q}"
            " --md5 {params.md5}"
            " --output {output:q}"
            " > {log:q} 2>&1"


if SIMULATED:

    rule simulate:
        """One simulated slide with its annotation."""
        output:
            image=f"{RESULTS}/slides/{{slide}}.tif",
            annotation=f"{RESULTS}/annotations/{{slide}}.xml",
        log:
            f"{LOGS}/simulate/{{slide}}.log",
        benchmark:
            f"{TIMES}/simulate/{{slide}}.tsv"
        resources:
            mem_mb=growing(700),
            runtime=growing(10),
        params:
            **code("simulate"),
            settings=settings("simulation.*", "seed"),
            cls=lambda wildcards: CLASSES[wildcards.slide],
            center=lambda wildcards: SLIDES[wildcards.slide].center,
        shell:
            "python {params.program:q}"
            " --slide {wildcards.slide}"
            " --class {params.cls:q}"
            " --center {params.center:q}"
            " --settings {params.settings:q}"
            " --image {output.image:q}"
            " --annotation {output.annotation:q}"
            " > {log:q} 2>&1"


if SOURCE == "camelyon16":
    if "net" not in workflow.global_resources:  # no profile says so, and 399 downloads would start together
        workflow.register_resource("net", 4)

    rule fetch_source:
        """The organisers' checksums and reference labels, held against their pinned sha256."""
        output:
            f"{RESULTS}/source/{{file}}",
        log:
            f"{LOGS}/fetch_source/{{file}}.log",
        wildcard_constraints:
            file=r"checksums\.md5|reference\.csv",
        retries: 2  # what a new job can mend: the program was killed
        localrule: True
        resources:
            mem_mb=growing(200),
            runtime=growing(30),
            net=1,
        params:
            **program("fetch"),
            url=lambda wildcards, threads: f"{config['download']['base_url'].rstrip('/')}/{SOURCE_KEYS[wildcards.file]}",
            sha256=lambda wildcards: SOURCE_SHA256[wildcards.file],
            settings=DOWNLOAD["settings"],
        shell:
            "python {params.program:q}"
            " --url {params.url:q} {params.sha256}"
            " --settings {params.settings:q}"
            " --output {output:q}"
            " > {log:q} 2>&1"

    rule camelyon16_table:
        """Our slides table agrees with the organisers' reference, slide by slide."""
        input:
            table=TABLE,
            reference=f"{RESULTS}/source/reference.csv",
        output:
            f"{RESULTS}/source/reference.checked",
        log:
            f"{LOGS}/camelyon16_table.log",
        localrule: True
        resources:
            mem_mb=growing(200),
            runtime=growing(5),
        params:
            **code("camelyon16_table"),
        shell:
            "python {params.program:q}"
            " --check"
            " --table {input.table:q}"
            " --reference {input.reference:q}"
            " --output {output:q}"
            " > {log:q} 2>&1"

    rule fetch_slide:
        """One slide from the bucket or a mirror: whole or the levels that are read, continued, verified."""
        input:
            md5=ancient(f"{RESULTS}/source/checksums.md5"),
            checked=ancient(f"{RESULTS}/source/reference.checked"),
        output:
            image=streamed(f"{RESULTS}/slides/{{slide}}.tif"),
            record=f"{RESULTS}/source/slides/{{slide}}.json",
        log:
            f"{LOGS}/fetch_slide/{{slide}}.log",
        benchmark:
            f"{TIMES}/fetch_slide/{{slide}}.tsv"
        priority: lambda wildcards: FETCH_PRIORITY.get(wildcards.slide, 0)
        retries: 2  # what a new job can mend: the program was killed
        localrule: True
        threads: 0  # it waits: for the network, for a place
        resources:
            mem_mb=growing(300),
            runtime=growing(240),
            net=1,
        params:
            **program("fetch"),
            **DOWNLOAD,
            levels=levels_read,
            sums=untracked(passing("--sums", LEVEL_SUMS)),
            key=lambda wildcards, threads: SLIDES[wildcards.slide].image,
            place=take_place,
        shell:
            "python {params.program:q}"
            " --base {params.base:q}"
            " --slide {wildcards.slide}"
            " --kind image"
            " --key {params.key:q}"
            " --md5-list {input.md5:q}"
            " --settings {params.settings:q}"
            " {params.levels} {params.sums} {params.place}"
            " --record {output.record:q}"
            " --output {output.image:q}"
            " > {log:q} 2>&1"

    rule fetch_annotation:
        """One tumour slide's lesion outlines."""
        input:
            md5=ancient(f"{RESULTS}/source/checksums.md5"),
        output:
            f"{RESULTS}/annotations/{{slide}}.xml",
        log:
            f"{LOGS}/fetch_annotation/{{slide}}.log",
        retries: 2  # what a new job can mend: the program was killed
        localrule: True
        resources:
            mem_mb=growing(300),
            runtime=growing(30),
            net=1,
        params:
            **program("fetch"),
            **DOWNLOAD,
            key=lambda wildcards, threads: SLIDES[wildcards.slide].annotation,
        shell:
            "python {params.program:q}"
            " --base {params.base:q}"
            " --slide {wildcards.slide}"
            " --kind annotation"
            " --key {params.key:q}"
            " --md5-list {input.md5:q}"
            " --settings {params.settings:q}"
            " --output {output:q}"
            " > {log:q} 2>&1"
