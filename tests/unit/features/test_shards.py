"""Shards: what was embedded together stays together, and the rest does not depend on what is finished."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from chowder.features import shards

SLIDES = [f"s{i}" for i in range(10)]


def test_a_fresh_run_is_cut_into_equal_parts():
    assert list(shards.plan(SLIDES, 4, {}).values()) == [SLIDES[:4], SLIDES[4:8], SLIDES[8:]]


def test_another_size_changes_nothing_that_was_made():
    first = shards.plan(SLIDES, 4, {})
    assert shards.plan(SLIDES, 7, first) == first


def test_a_new_slide_in_the_middle_gets_a_shard_of_its_own():
    first = shards.plan(SLIDES, 4, {})
    longer = [*SLIDES[:3], "new", *SLIDES[3:]]
    second = shards.plan(longer, 4, first)
    assert {name: second[name] for name in first} == first
    assert [group for name, group in second.items() if name not in first] == [["new"]]


def test_a_shard_with_a_slide_that_is_gone_is_dissolved():
    first = shards.plan(SLIDES, 4, {})
    second = shards.plan(SLIDES[1:], 4, first)
    assert sorted(itertools.chain(*second.values())) == SLIDES[1:]
    assert SLIDES[4:8] in second.values() and SLIDES[8:] in second.values()


def test_a_slide_in_two_manifests_is_embedded_once():
    """As after a run that was stopped and one with another size: the first shard by name keeps its slides."""
    plan = shards.plan(SLIDES[:4], 2, {"s0": ["s0", "s1"], "s1": ["s1", "s2", "s3"]})
    assert sorted(itertools.chain(*plan.values())) == SLIDES[:4]
    assert plan["s0"] == ["s0", "s1"]


def test_a_new_shard_never_takes_the_name_of_another():
    made = {"s0": ["s1", "s2"]}
    plan = shards.plan(["s0", "s1", "s2"], 3, made)
    assert plan == {"s0_": ["s0"], "s0": ["s1", "s2"]}


@given(st.integers(1, 12), st.integers(1, 12), st.sets(st.integers(0, 11)), st.data())
def test_planning_again_during_a_run_gives_the_same_shards(size, before, missing, data):
    """Whatever was there at the start and whichever shards are finished meanwhile."""
    older = [slide for number, slide in enumerate(SLIDES) if number not in missing]
    made = shards.plan(older, before, {}) if older else {}
    planned = shards.plan(SLIDES, size, made)
    assert sorted(itertools.chain(*planned.values())) == SLIDES
    finished = data.draw(st.sets(st.sampled_from(sorted(planned))))
    now = made | {name: planned[name] for name in finished}
    assert shards.plan(SLIDES, size, now) == planned


def test_shards_of_several_encoders_become_one_plan():
    first, second = {"s0": ["s0", "s1"], "s2": ["s2"]}, {"s1": ["s1", "s2"], "s2": ["s3"], "s4": ["s4"]}
    assert shards.together([first, second]) == {"s0": ["s0", "s1"], "s2": ["s2"], "s4": ["s4"]}
    assert shards.together([]) == {}


def test_manifests_are_read_and_other_files_ignored(tmp_path):
    (tmp_path / "a.json").write_text('{"encoder": "e", "slides": {"s1": {"file": "x"}, "s0": {"file": "y"}}}')
    (tmp_path / "b.json").write_text('{"encoder"')
    (tmp_path / "c.json").write_text("[1]")
    assert shards.made(tmp_path) == {"a": ["s1", "s0"]}
    assert shards.made(tmp_path / "nowhere") == {}
