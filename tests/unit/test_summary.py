"""The summary page: everything is inside it, captions are filled in, warnings stand in one place."""

import json
import re
from pathlib import Path

from PIL import Image

import summary_report
from chowder import summary
from chowder.table import page

REPORT = Path(summary_report.__file__).parents[1] / "report"
CONFIG = """
dataset: demo
seed: 1
slides: {source: simulated}
encoders: [efficientnet_lite0, "timm:vit"]
methods: [meanpool, chowder_r1, chowder_r10]
tiles: {size: 224, mpp: 0.5}
tissue: {combine: and}
training: {members: 10, epochs: 30}
cv: {folds: 3}
evaluation: {bootstrap: 2000, froc_mode: official}
"""


def test_page_is_self_contained_and_has_all_parts(tmp_path):
    (tmp_path / "benchmark.html").write_text(page("t", "<h1>t</h1>\n<p>the table</p>"))
    (tmp_path / "config.yaml").write_text(CONFIG)
    record = {"slide": "s1", "warnings": ["no tissue <found>"]}
    (tmp_path / "s1.json").write_text(json.dumps(record))
    figure = tmp_path / "heatmap_timm-vit_chowder_r10_test_001.png"
    Image.new("RGB", (4, 4)).save(figure)
    outputs = []
    for name in ("one.html", "two.html"):
        arguments = ["--table", tmp_path / "benchmark.html", "--figures", figure, "--captions", REPORT]
        arguments += ["--records", tmp_path / "s1.json", "--config", tmp_path / "config.yaml"]
        arguments += ["--settings", '{"dataset": "demo", "simulated": true}', "--output", tmp_path / name]
        summary_report.main([str(argument) for argument in arguments])
        outputs.append((tmp_path / name).read_text())
    text = outputs[0]
    assert text == outputs[1]
    assert "the table" in text and "SIMULATED slides" in text and "data:image/png;base64," in text
    assert "s1: tissue: no tissue &lt;found&gt;" in text and "seed: 1" in text and "python 3" in text
    assert "chowder_r10 (timm-vit) looked on slide" in text and "test_001" in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)


def test_every_caption_of_the_report_renders(tmp_path):
    import yaml

    config = yaml.safe_load(CONFIG)
    for path in REPORT.glob("*.rst"):
        for source, mark in (("simulated", True), ("table", False)):
            config["slides"]["source"] = source
            html = summary.caption(f"{path.stem}_efficientnet_lite0_chowder_r1_s", REPORT, config)
            assert html.startswith("<p>") and "system-message" not in html and "{{" not in html
            assert ("Simulated slides" in html) == mark, path.name


def test_a_figure_of_unknown_kind_is_shown_with_its_name():
    assert summary.caption("other_x", REPORT, {"encoders": []}) == "other_x"
