"""What Docker is told agrees with the checkout: nobody builds the image in the test suite."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.programs import COMMANDS, parser_of
from tests.shared import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
EXAMPLES = re.findall(r"#\s+(docker .*)", DOCKERFILE.replace("\\\n#", ""))


def test_what_it_copies_is_there():
    copied = [name for line in re.findall(r"^COPY (.*)", DOCKERFILE, re.M) for name in line.split()[:-1]]
    assert "requirements.txt" in copied and all((REPOSITORY / name).exists() for name in copied)


@pytest.mark.parametrize("example", [line for line in EXAMPLES if line.startswith("docker run")])
def test_examples_start_what_is_there(example):
    words = shlex.split(example)
    program, *arguments = words[words.index("cfld") + 1 :]
    assert (REPOSITORY / arguments[0]).is_file()
    if f"{program} {arguments[0]}" in COMMANDS:
        parser_of(f"{program} {arguments[0]}").parse_args(arguments[1:])


def test_data_sets_stay_out_of_images_and_of_the_repository():
    configs = [yaml.safe_load(path.read_text()) for path in (REPOSITORY / "configs").glob("*.yaml")]
    roots = {Path(config.get("INPUT", {}).get("ROOT_DIR", "fashion")).parts[0] for config in configs}
    assert roots >= {"custom", "fashion", "market"}
    assert roots <= set((REPOSITORY / ".dockerignore").read_text().split())
    assert {f"/{root}/" for root in roots} <= set((REPOSITORY / ".gitignore").read_text().split())


def test_weights_stay_out_of_images_as_out_of_the_repository():
    def about_weights(name: str) -> list[str]:
        lines = (REPOSITORY / name).read_text().splitlines()
        return [line.replace("/pretrained", "pretrained") for line in lines if "pretrained_models" in line]

    assert about_weights(".dockerignore") == about_weights(".gitignore") != []
