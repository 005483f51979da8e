"""Descriptions of families beside the captions of clips, and what is drawn of both."""

import re

import numpy as np
import pytest
import yaml
from training_stages import ROOT

from training.augmentation.descriptions import FamilyDescriptions, descriptions_file, sides
from training.texts import TextTable


FILE = """
wave-left-hand:
  any: [says hello with the left hand]
kick:
  any: [lashes out with a leg]
  kinds:
  - {where: ball|soccer, wordings: [hammers it into the net]}
side-step:
  any: [shuffles leftward, edges over]
"""


@pytest.fixture
def descriptions(tmp_path) -> FamilyDescriptions:
    path = tmp_path / "descriptions.yaml"
    path.write_text(FILE)
    return FamilyDescriptions(path)


def test_sentences_of_a_kind_belong_to_clips_whose_captions_tell_of_it(descriptions):
    assert descriptions("kick", ["a man kicks"]) == ["lashes out with a leg"]
    assert descriptions("kick", ["a man kicks", "He kicks a BALL."])[1:] == ["hammers it into the net"]
    assert descriptions("juggle", ["a man juggles"]) == []


def test_sentences_are_mirrored_for_clips_on_the_right(descriptions):
    assert descriptions("side-step", ["steps to the left"]) == ["shuffles leftward", "edges over"]
    assert descriptions("side-step", ["steps to the right"]) == ["shuffles rightward", "edges over"]
    assert descriptions("wave-right-hand", ["waves the right hand"]) == ["says hello with the right hand"]


def test_captions_that_name_no_side_or_both_have_descriptions_without_one(descriptions):
    for captions in (["steps aside"], ["steps left", "then right"]):
        assert descriptions("side-step", captions) == ["edges over"]


def test_sides_of_texts():
    assert sides(["turns left", "at a right angle"]) == {"left"}
    assert sides(["walks counterclockwise"]) == {"left"} and sides(["walks clockwise"]) == {"right"}
    assert sides(["no energy left"]) == set()


class TwoClips:
    """A kick with one caption, and a clip of no family with two."""

    families = ["kick", ""]
    captions = [["a man kicks"], ["a man walks", "someone walks"]]

    def indexed_captions(self):
        return ["a man kicks", "a man walks", "someone walks"], [[0], [1, 2]]


def test_a_table_holds_captions_paraphrases_and_descriptions_once_each(descriptions):
    table = TextTable(TwoClips(), lambda text, rng: text.upper(), descriptions)
    assert table.texts[3:6] == ["A MAN KICKS", "A MAN WALKS", "SOMEONE WALKS"]
    assert table.texts[6:] == ["lashes out with a leg"] and table.descriptions == [[6], []]


def test_descriptions_are_drawn_as_often_as_asked_for(descriptions):
    table, rng = TextTable(TwoClips(), None, descriptions), np.random.default_rng(0)
    drawn = [table.texts[table.draw(0, rng, 0.3)] for _ in range(500)]
    assert drawn.count("lashes out with a leg") / 500 == pytest.approx(0.3, abs=0.06)
    assert {table.draw(0, rng) for _ in range(50)} == {0}
    assert {table.texts[table.draw(1, rng, 1.0)] for _ in range(50)} == {"a man walks", "someone walks"}


def test_the_last_of_several_texts_is_a_description_and_descriptions_of_a_family_have_one_id(descriptions):
    table, rng = TextTable(TwoClips(), None, descriptions), np.random.default_rng(0)
    ids, rows = table.draw_several(0, 3, rng)
    assert rows.tolist() == [0, 0, 3] and ids[:2].tolist() == [0, 0] and ids[2] >= len(table.texts)
    ids, rows = table.draw_several(1, 2, rng)
    assert sorted(rows.tolist()) == [1, 2] and ids.tolist() == rows.tolist()


def test_no_description_that_ships_is_a_prompt_of_the_evaluation():
    shipped = FamilyDescriptions(descriptions_file("descriptions.yaml"))
    sentences = {text.lower() for text in shipped.sentences}
    prompts = yaml.safe_load((ROOT / "training/evaluation/family_prompts.yaml").read_text())
    for split in ("paraphrases", "paraphrases_val"):
        assert not sentences & {text.lower() for texts in prompts[split].values() for text in texts}


def test_every_pattern_of_the_file_that_ships_is_a_regular_expression_of_lower_case():
    shipped = FamilyDescriptions(descriptions_file("descriptions.yaml"))
    patterns = [kind["where"] for family in shipped.families.values() for kind in family.get("kinds", [])]
    assert patterns and all(re.compile(pattern) and pattern == pattern.lower() for pattern in patterns)
