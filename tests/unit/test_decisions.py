import re
from pathlib import Path

PLACE = Path(__file__).parents[2] / "docs/decisions"


def test_every_decision_has_a_number_of_its_own_and_says_it():
    files = sorted(PLACE.glob("*.md"))
    numbers = [file.name[:4] for file in files]
    assert len(numbers) == len(set(numbers)) > 20
    for file, number in zip(files, numbers, strict=True):
        assert file.read_text().startswith(f"# {int(number)}. "), file.name


def test_what_names_a_decision_names_one_that_is_there():
    known = {int(file.name[:4]) for file in PLACE.glob("*.md")}
    root = PLACE.parents[1]
    texts = [*root.glob("docs/**/*.md"), *root.glob("src/**/*.py"), *root.glob("src/**/*.[ch]")]
    named = {(int(number), file.name) for file in texts for number in re.findall(r"decision (\d+)", file.read_text())}
    named |= {(int(number), file.name) for file in texts for number in re.findall(r"decisions/(\d{4})-", file.read_text())}
    assert named
    assert not {(number, name) for number, name in named if number not in known}
