# A trained model on slides without labels: docs/predict.md. Tissue, tiles and features are made by the rules of training,
# with the bundle's settings. Needs: a bundle, slides. Makes: <bundle>/predictions.csv,
# tile_scores/, and of each slide <slide>/heatmap.*, tiles.* and tiles.geojson.


rule predict:
    """A bundle's model on slides without labels: probabilities, heat maps, tiles, GeoJSON (predict.model, slides)."""
    input:
        lambda wildcards: predicted(),


if BUNDLE:

    rule predict_slides:
        """Probabilities and tile scores of all slides by a bundle's model."""
        input:
            index=expand(f"{RESULTS}/features/{{encoder}}/index.json", encoder=ENCODERS),
            tiles=expand(f"{RESULTS}/tiles/{{slide}}.parquet", slide=SLIDES),
            records=expand(f"{RESULTS}/tissue/{{slide}}.json", slide=SLIDES),
            masks=expand(f"{RESULTS}/tissue/{{slide}}.png", slide=SLIDES),
            previews=expand(f"{RESULTS}/previews/{{slide}}.jpg", slide=SLIDES),
        output:
            csv=f"{PREDICTED}/predictions.csv",
            scores=expand(f"{PREDICTED}/tile_scores/{{slide}}.parquet", slide=SLIDES),
        log:
            f"{LOGS}/predict_slides/{BUNDLE.name}.log",
        resources:
            mem_mb=growing(4000),
            runtime=growing(120),
        params:
            **code("predict", lambda wildcards: estimator_of(METHODS[0])),
            bundle=untracked(BUNDLE.path),
            digest=BUNDLE.digest,
            slides=list(SLIDES),
            tissue=lambda wildcards, input: os.path.dirname(input.masks[0]),
            previews=lambda wildcards, input: os.path.dirname(input.previews[0]),
            tiles=lambda wildcards, input: os.path.dirname(input.tiles[0]),
            scores=lambda wildcards, output: os.path.dirname(output.scores[0]),
        shell:
            "python {params.program:q}"
            " --bundle {params.bundle:q}"
            " --slides {params.slides:q}"
            " --index {input.index:q}"
            " --tiles-dir {params.tiles:q}"
            " --tissue-dir {params.tissue:q}"
            " --previews-dir {params.previews:q}"
            " --output {output.csv:q}"
            " --scores-dir {params.scores:q}"
            " > {log:q} 2>&1"

    rule predict_pictures:
        """A slide as the bundle's model sees it: heat map, highest and lowest tiles, GeoJSON for QuPath."""
        input:
            image=lambda wildcards: image(wildcards.slide),
            preview=f"{RESULTS}/previews/{{slide}}.jpg",
            mask=f"{RESULTS}/tissue/{{slide}}.png",
            record=f"{RESULTS}/tissue/{{slide}}.json",
            tiles=f"{RESULTS}/tiles/{{slide}}.parquet",
            scores=f"{PREDICTED}/tile_scores/{{slide}}.parquet",
            predictions=f"{PREDICTED}/predictions.csv",
        output:
            **{
                f"{name}_{form}": f"{PREDICTED}/{{slide}}/{name}.{form}"
                for name in ("heatmap", "tiles")
                for form in ("png", "svg", "csv")
            },
            geojson=f"{PREDICTED}/{{slide}}/tiles.geojson",
        log:
            f"{LOGS}/predict_pictures/{BUNDLE.name}/{{slide}}.log",
        resources:
            mem_mb=growing(1500),
            runtime=growing(10),
        params:
            **code("predict_pictures", titles),
            bundle=untracked(BUNDLE.path),
            digest=BUNDLE.digest,
            shown=config["figures"]["gallery"],
            heatmap=lambda wildcards, output: output.heatmap_png[:-4],
            gallery=lambda wildcards, output: output.tiles_png[:-4],
        shell:
            "python {params.program:q}"
            " --bundle {params.bundle:q}"
            " --slide {wildcards.slide}"
            " --image {input.image:q}"
            " --preview {input.preview:q}"
            " --mask {input.mask:q}"
            " --record {input.record:q}"
            " --tiles {input.tiles:q}"
            " --scores {input.scores:q}"
            " --predictions {input.predictions:q}"
            " --count {params.shown}"
            " --heatmap {params.heatmap:q}"
            " --gallery {params.gallery:q}"
            " --geojson {output.geojson:q}"
            " > {log:q} 2>&1"
