"""The program that holds a slide's file against the md5 of the slides table."""

from __future__ import annotations

import json
import subprocess

import pytest

import verify_slide
from chowder.files import UserError


@pytest.fixture
def slide(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(range(256)) * 5000)
    return path


def arguments(slide, md5):
    return ["--slide", "a", "--image", str(slide), "--md5", md5, "--output", str(slide.with_suffix(".json"))]


def test_the_sum_is_that_of_md5sum_in_either_case(slide):
    true = subprocess.run(["md5sum", slide], capture_output=True, text=True, check=True).stdout.split()[0]
    for text in (true, true.upper()):
        verify_slide.main(arguments(slide, text))
        assert json.loads(slide.with_suffix(".json").read_text()) == {"slide": "a", "md5": true}


def test_another_sum_is_one_line_and_leaves_no_record(slide):
    with pytest.raises(
        UserError, match=r"a\.tif: md5 is [0-9a-f]{32}, the slides table has 0{32} for slide a: copy"
    ) as e:
        verify_slide.main(arguments(slide, "0" * 32))
    assert "\n" not in str(e.value) and not slide.with_suffix(".json").exists()
