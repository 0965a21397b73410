import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception import jsontext

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(values)
def test_what_is_written_is_read_back_by_both(value):
    assert jsontext.loads(jsontext.dumps(value)) == value
    assert json.loads(jsontext.dumps(value)) == value
    assert jsontext.loads(json.dumps(value, indent=2)) == value


@pytest.mark.parametrize("text", ["", "{", '{"a":}', "[1,]", "tru", "1 2", '"a', '{"a" 1}', "nul"])
def test_bad_text_is_an_error_with_a_place(text):
    with pytest.raises(json.JSONDecodeError, match="line 1 column"):
        jsontext.loads(text)


def test_nothing_but_json_values_is_written():
    with pytest.raises(TypeError, match="set is not JSON"):
        jsontext.dumps({"a": set()})
