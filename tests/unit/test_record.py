import inspect

import pytest

from inception.errors import InvalidArgument
from inception.record import Record, decode, encode, replace


class Leaf(Record, style="camel"):
    leaf_size: int
    names: list[str] = []


class Tree(Record, style="camel", names={"odd": "ODD"}):
    leaves: list[Leaf] = []
    by_name: dict[str, Leaf] = {}
    odd: str | None = None
    weight: float = 1.0


def test_a_record_goes_through_json_and_back():
    tree = Tree(leaves=[Leaf(leaf_size=1, names=["a"])], by_name={"x": Leaf(leaf_size=2)}, odd="yes")
    document = {"leaves": [{"leafSize": 1, "names": ["a"]}], "byName": {"x": {"leafSize": 2}}, "ODD": "yes"}
    assert encode(tree) == document
    assert decode(Tree, document) == tree


def test_defaults_are_not_shared_between_records():
    one, other = Leaf(leaf_size=1), Leaf(leaf_size=1)
    one.names.append("x")
    assert other.names == []


def test_defaults_are_written_only_when_asked_for():
    assert encode(Tree()) == {}
    assert encode(Tree(), keep_defaults=True) == {"leaves": [], "byName": {}, "ODD": None, "weight": 1.0}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"leaves": [{"leafSize": "1"}]}, "leaves[0].leafSize: expected an integer, got a string"),
        ({"leaves": [{"leafSize": True}]}, "leaves[0].leafSize: expected an integer, got a boolean"),
        ({"leaves": {}}, "leaves: expected an array, got an object"),
        ({"byName": {"x": {}}}, "byName.x.leafSize: missing"),
        ([], "document: expected an object, got an array"),
    ],
)
def test_a_decoding_error_names_the_place(document, message):
    with pytest.raises(InvalidArgument) as error:
        decode(Tree, document)
    assert str(error.value) == message


def test_unknown_properties_are_ignored_or_refused_as_asked():
    assert decode(Tree, {"more": 1}) == Tree()
    with pytest.raises(InvalidArgument, match=r"leaves\[0\]\.more: unknown property"):
        decode(Tree, {"leaves": [{"leafSize": 1, "more": 1}]}, unknown="error")


def test_null_stands_for_the_default():
    assert decode(Tree, {"leaves": None, "weight": None}) == Tree()


def test_construction_names_what_is_missing_or_unknown():
    with pytest.raises(TypeError, match="needs leaf_size"):
        Leaf()
    with pytest.raises(TypeError, match="no field 'size'"):
        Leaf(leaf_size=1, size=2)


def test_replace_changes_a_copy():
    leaf = Leaf(leaf_size=1)
    assert replace(leaf, leaf_size=2) == Leaf(leaf_size=2)
    assert leaf.leaf_size == 1


def test_help_and_shells_see_the_fields_first_those_that_must_be_given():
    assert str(inspect.signature(Leaf)) == "(*, leaf_size: int, names: list[str] = [])"
    assert list(inspect.signature(Tree).parameters) == list(Tree.__fields__)
