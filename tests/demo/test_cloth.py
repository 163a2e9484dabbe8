import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from datasets import load_pairs
from datasets.fashion_preparation import generate as prepare
from datasets.pair_lists import file_name
from demo import cloth
from demo.drawn_people import RECORD, draw, draw_dataset, people_in
from tests.tiny import run_main


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Root of four test people with two photos each."""
    root = tmp_path_factory.mktemp("drawn")
    draw_dataset(root, train_people=1, test_people=4, photos_per_person=2, workers=1)
    prepare(root, workers=1, link=True)
    return root


@pytest.fixture
def generate(dataset, tmp_path):
    """A function that writes the target of every pair, its people's tops changed by a function."""
    people, pairs = people_in(dataset, "test"), load_pairs(dataset, "test", "fashion")

    def write(change, folder=tmp_path):
        folder.mkdir(exist_ok=True)
        for pair in pairs:
            person, number = divmod(pairs.annotations.rows[pair.target], 2)
            drawn = people[person]
            other = people[person - 1].person.top_cloth
            image, _ = draw(change(drawn.person, other), drawn.poses[number])
            Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC).save(folder / file_name(pair))
        return folder

    return write


def shares(output: str) -> dict[tuple[str, str], float]:
    return {tuple(line.split()[:2]): float(line.split()[2].rstrip("%")) for line in output.splitlines()}


def test_targets_wear_the_right_cloth(dataset, generate, tmp_path, capsys):
    assert run_main(cloth, generate(lambda person, other: person), "--dataset", dataset) == 0
    output = capsys.readouterr().out
    found = shares(output)
    assert {garment for garment, _ in found} == {"top", "bottom"}
    images = sum(int(line.split()[-1]) for line in output.splitlines() if line.split()[1] in ("plain", "patterned"))
    assert images == 2 * len(list(tmp_path.glob("*.png")))  # a top and a bottom each
    assert set(found.values()) == {100.0}


def test_cloth_of_others_is_wrong(dataset, generate, capsys):
    folder = generate(lambda person, other: replace(person, top_cloth=other))
    assert run_main(cloth, folder, "--dataset", dataset) == 0
    found = shares(capsys.readouterr().out)
    assert {share for (garment, _), share in found.items() if garment == "top"} == {0.0}


def test_each_folder_has_its_own_choices(dataset, generate, tmp_path):
    right = generate(lambda person, other: person, tmp_path / "right")
    wrong = generate(lambda person, other: replace(person, top_cloth=other), tmp_path / "wrong")
    found = list(cloth.choices([right, wrong], dataset))
    assert {choice.right for choice in found if choice.folder == right} == {True}
    assert {choice.right for choice in found if choice.folder == wrong and choice.garment == "top"} == {False}


@pytest.mark.parametrize("version, message", [(None, "No such file"), (1, "drawn by version 1")])
def test_other_datasets_are_one_line(tmp_path, capsys, version, message):
    if version:
        facts = {"version": version, "seed": 0, "photos_per_person": 2, "train_people": 1, "test_people": 1}
        (tmp_path / RECORD).write_text(json.dumps(facts))
    assert run_main(cloth, tmp_path, "--dataset", tmp_path) == 1
    assert message in capsys.readouterr().err


def test_ten_cloths_to_choose_from(dataset):
    people = people_in(dataset, "test")
    right = people[0].person.top_cloth
    others = cloth.other_cloths(people, "top", right, np.random.default_rng(0))
    assert right not in others and len(set(others)) == len(others) == 3
