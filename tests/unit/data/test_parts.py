"""Parts of a cohort become one: each slide once, with its own file, size and outline; what does not fit is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

import join as program
from chowder.data import parts
from chowder.files import UserError


def run_of(folder: Path, slides: dict[str, str], *, encoder="enc", tiles=None, root=None) -> Path:
    """A finished part: slides by name, with their labels; b-slides get their outline from the run itself."""
    (folder / "features" / encoder).mkdir(parents=True)
    (folder / "tissue").mkdir()
    (folder / "annotations").mkdir()
    config = {"tiles": tiles or {"size": 224, "mpp": 0.5}, "embedding": {"normalisation": "auto"}}
    config["slides"] = {"source": "table", "root": root and str(root)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = ["slide,image,label,split,patient,center,class,annotation,mpp,froc,simulated"]
    for number, (slide, label) in enumerate(slides.items()):
        (folder / "features" / encoder / f"{slide}.h5").write_text(slide)
        record = {"mpp": 0.25 + number / 8, "width": 1000 + number, "height": 2000}
        (folder / "tissue" / f"{slide}.json").write_text(json.dumps(record))
        (folder / "annotations" / f"{slide}.xml").touch()
        lines.append(f"{slide},{slide}.svs,{label},test,p{number},here,,{f'out/{slide}.xml' if root else ''},,1,0")
    (folder / "slides.csv").write_text("\n".join(lines) + "\n")
    listed = [{"slide": slide, "file": f"{slide}.h5"} for slide in slides]
    (folder / "features" / encoder / "index.json").write_text(json.dumps({"slides": listed}))
    return folder


def test_two_parts_become_one_table_with_links_to_every_feature_file(tmp_path, capsys):
    root = tmp_path / "data"
    (root / "out").mkdir(parents=True)
    (root / "out" / "a2.xml").touch()
    a = run_of(tmp_path / "a", {"a1": "0", "a2": "1"}, root=root)
    b = run_of(tmp_path / "b", {"b1": "1"})
    program.main([str(a), str(b), "--name", "whole", "--output", str(tmp_path / "whole")])
    program.main([str(a), str(b), "--name", "whole", "--output", str(tmp_path / "whole")])  # again: the same
    assert "3 slides of 2 parts" in capsys.readouterr().out
    with (tmp_path / "whole" / "slides.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["slide"], row["mpp"], row["width"], row["patient"]) for row in rows] == [
        ("a1", "0.25", "1000", "p0"),
        ("a2", "0.375", "1001", "p1"),
        ("b1", "0.25", "1000", "p0"),
    ]
    outlines = ["", str(root / "out" / "a2.xml"), str(tmp_path / "b" / "annotations" / "b1.xml")]
    assert [row["annotation"] for row in rows] == outlines
    for row in rows:
        assert (tmp_path / "whole" / "features" / f"{row['slide']}.h5").read_text() == row["slide"]
    config = yaml.safe_load((tmp_path / "whole" / "config.yaml").read_text())
    assert config["dataset"] == "whole" and config["features"]["name"] == "enc"


@pytest.mark.parametrize(
    ("slides", "changes", "message"),
    [
        ({"a1": "0"}, {}, "slide a1 is in .*a/features/enc too: rename one"),
        ({"b1": "0"}, {"tiles": {"size": 256, "mpp": 0.5}}, "b: tiles is .*256.*must be made alike"),
        ({"b1": "0"}, {"encoder": "other"}, "b: encoder is 'other', in .*a 'enc'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, slides, changes, message):
    a, b = run_of(tmp_path / "a", {"a1": "0"}), run_of(tmp_path / "b", slides, **changes)
    with pytest.raises(UserError, match=message):
        parts.join([parts.read_part(a), parts.read_part(b)])


def test_a_part_without_features_or_with_several_encoders_says_so(tmp_path):
    with pytest.raises(UserError, match=r"no config.yaml that can be read"):
        parts.read_part(tmp_path)
    folder = run_of(tmp_path / "a", {"a1": "0"})
    (folder / "features" / "enc2").mkdir()
    (folder / "features" / "enc2" / "index.json").write_text("{}")
    with pytest.raises(UserError, match=r"features of several encoders, enc, enc2: choose one with --encoder"):
        parts.read_part(folder)
    with pytest.raises(UserError, match=r"no features of enc3: it has enc, enc2"):
        parts.read_part(folder, "enc3")
    assert parts.read_part(folder, "enc").encoder == "enc"
    (folder / "features" / "enc" / "index.json").unlink()
    (folder / "features" / "enc2" / "index.json").unlink()
    with pytest.raises(UserError, match=r"no features yet: run the target `features` of this part first"):
        parts.read_part(folder)


def test_a_slide_that_the_index_lacks_is_named(tmp_path):
    folder = run_of(tmp_path / "a", {"a1": "0"})
    (folder / "features" / "enc" / "index.json").write_text('{"slides": []}')
    with pytest.raises(UserError, match=r"slide a1 is missing: run the target `features`"):
        parts.join([parts.read_part(folder)])
