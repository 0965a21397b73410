import json
import subprocess
import sys

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


def test_bad_text_is_an_error_with_a_place_where_json_is_not_loaded():
    # A process of its own: here `json` is loaded, without which the C scanner fails in another way.
    code = (
        "import sys; from inception.jsontext import loads\n"
        "assert 'json' not in sys.modules\n"
        "try: loads('{bad')\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "line 1 column 2" in done.stdout


def test_text_without_a_bottom_is_an_error():
    with pytest.raises(ValueError, match="nested too deeply"):
        jsontext.loads("[" * 1_000_000)


def test_nothing_but_json_values_is_written():
    with pytest.raises(TypeError, match="set is not JSON"):
        jsontext.dumps({"a": set()})
