"""Configuration files made by chance: a configuration or problems with positions, no crash."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import Config, ConfigFileError, config_from_text
from edge.config_broker import MqttConfig
from edge.config_cameras import CameraConfig
from edge.yaml_positions import MAX_BYTES

KEYS = sorted(
    {*Config.model_fields, *MqttConfig.model_fields, *CameraConfig.model_fields, "polygon", "yard"}
)
HUGE_NUMBER = "0x" + "f" * 6000

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        [
            "10s",
            "9" * 400 + "d",
            "9" * 400 + "GiB",
            "~nobody-at-all/x",
            "a\0b",
            "mqtt://[",
            "http://[::1",
            "csi://" + "9" * 40,
            "gst:",
            "rtsp://x:y@z:w",
            "\ud800",
            "/dev/video99999999999999999999",
        ]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=25,
)


def read(text: str) -> Config | list[str]:
    try:
        return config_from_text(text, file="x", folder=Path("/"))
    except ConfigFileError as error:
        problems = error.problems
    assert problems
    assert all(problem.position >= (1, 1) for problem in problems)
    return [problem.render("x") for problem in problems]


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=8))
def test_any_values_under_any_keys(data: dict[str, object]) -> None:
    read(json.dumps(data))


@settings(max_examples=100)
@given(values, values, values)
def test_any_values_where_they_matter(first: object, second: object, third: object) -> None:
    data = {
        "schema_version": 1,
        "bundle": first,
        "state": "s",
        "mqtt": second,
        "cameras": {"yard": {"source": first, "masks": third, "zones": {"gate": third}}},
    }
    found = read(json.dumps(data))
    if isinstance(found, Config):
        assert found.cameras["yard"].source


@settings(max_examples=100)
@given(st.text(alphabet="ab:- \n\t[]{}&*!|>'\"#?,%@0.~<", max_size=80))
def test_any_punctuation(text: str) -> None:
    assert isinstance(read(text), list)


@pytest.mark.parametrize("tag", ["int", "float", "bool", "null", "timestamp", "binary", "set"])
@pytest.mark.parametrize("value", ["''", "_", "x", "[1]", "{a: b}", "0x", "1:", ".", "-", "+"])
def test_tags_on_what_they_do_not_fit(tag: str, value: str) -> None:
    assert isinstance(read(f"schema_version: !!{tag} {value}\n"), list)


@pytest.mark.parametrize(
    "text",
    [
        f"? {HUGE_NUMBER}\n: 1\n",
        f"schema_version: {HUGE_NUMBER}\n",
        f"cameras: {{yard: {{source: {HUGE_NUMBER}}}}}\nthreads: {HUGE_NUMBER}\n",
    ],
)
def test_numbers_too_long_to_be_written_out(text: str) -> None:
    assert isinstance(read(text), list)


@pytest.mark.parametrize(
    "text",
    [
        "- a\n" * (MAX_BYTES // 4),
        "[" + "a," * (MAX_BYTES // 2 - 2) + "]",
        "".join(f"key{number}: 1\n" for number in range(90_000)),
        "".join(f"- &a{number} x\n" for number in range(80_000)),
        "- " * 900 + "a",
        "a: '" + "x" * (MAX_BYTES - 5),
    ],
    ids=["list", "flow", "map", "anchors", "nested", "text"],
)
def test_a_file_of_the_largest_size_ends_in_bounded_time(text: str) -> None:
    """It was minutes for a list of a megabyte; the bound is loose, as machines differ."""
    begin = time.process_time()
    assert isinstance(read(text), list)
    assert time.process_time() - begin < 30.0
