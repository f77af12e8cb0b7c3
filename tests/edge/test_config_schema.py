"""The published schema of the configuration agrees with what reads it."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cli.run import run
from edge.config import ConfigFileError, config_from_text
from edge.config_schema import SCHEMA_PATH, config_schema, schema_text

VALIDATOR = jsonschema.Draft202012Validator(config_schema())


def parser_says(document: Any) -> list[str]:
    """The problems that the parser finds; none: it accepts."""
    try:
        config_from_text(yaml.safe_dump(document), file="x.yaml", folder=Path("/"))
    except ConfigFileError as error:
        return [problem.message for problem in error.problems]
    return []


def schema_says(document: Any) -> list[str]:
    # Through YAML, so that both see the same: dates, numbers of other forms.
    return [e.message for e in VALIDATOR.iter_errors(yaml.safe_load(yaml.safe_dump(document)))]


# What the schema cannot say, in the parser's words.
BEYOND_SCHEMA = (
    "less than or equal",
    "greater than or equal",
    "greater than 0",
    "address",
    "unit (",  # a quantity: the form is the schema's, a huge number is not
    "lie on one line",
    "names are",
    "password",
    "valid integer",  # 3.0 is an integer to JSON
    "CSI",
    "csi",
)

NAMES = st.sampled_from(["yard", "door-2", "a" * 32, "Yard", "a b", "", "a" * 33, "ä"])
GOOD_DURATION = st.sampled_from(["10s", "5 m", "100ms", "0.5s"])
ANY_DURATION = GOOD_DURATION | st.sampled_from(["10", "s", "10 sec", "9999d", "", "-1s"])
GOOD_SIZE = st.sampled_from(["64MiB", "1 GiB", "2097152B"])
ANY_SIZE = GOOD_SIZE | st.sampled_from(["1MB", "64", "1.5"])
SCALARS = st.sampled_from([None, True, False, 0, 1, -1, 5, 3.0, 2.5, "", "x", "yes", "1", [], {}])
POLYGON = st.lists(
    st.lists(st.sampled_from([0, 0.25, 1, 1.5, -0.1, "0", True]), min_size=1, max_size=3),
    max_size=5,
)
SQUARE = st.just([[0, 0], [1, 0], [1, 1.0]])


def section(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of the keys, each with a good value or any; sometimes a key that is not known."""
    either = {key: value | SCALARS for key, value in keys.items()}
    return st.fixed_dictionaries({}, optional={**either, "souce": SCALARS})


DEFAULTS: dict[str, st.SearchStrategy[Any]] = {
    "enabled": st.booleans(),
    "fps": st.sampled_from([1, 12.5, 1000]),
    "realtime": st.booleans(),
    "connect_timeout": ANY_DURATION,
    "memory_max": ANY_SIZE,
    "clip": section(pre_roll=ANY_DURATION, fps=st.just(5), width=st.sampled_from([640, 1, 64.5])),
}
CAMERA = section(
    **DEFAULTS,
    source=st.sampled_from(["rtsp://h/x", 0, 3, "clips/a.mp4", "csi://0", "csi://x", -1]),
    masks=st.lists(POLYGON | SQUARE, max_size=2),
    zones=st.dictionaries(
        NAMES, section(polygon=POLYGON | SQUARE, threshold_offset=st.just(1.5)), max_size=2
    ),
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "schema_version": st.sampled_from([1, 1, 1, 1, 2, "1", True, 1.0]),
        "bundle": st.sampled_from(["b", "b", "/b", "", 3]),
        "state": st.just("s"),
        "cameras": st.dictionaries(NAMES, CAMERA, max_size=2) | SCALARS,
    },
    optional={
        "device": NAMES | SCALARS,
        "media": st.just("m") | SCALARS,
        "snapshots": st.booleans() | SCALARS,
        "threads": st.sampled_from([0, 4, 256, 257]) | SCALARS,
        "analysis_fps": st.sampled_from([5, 10.0, 121]) | SCALARS,
        "mqtt": section(
            url=st.sampled_from(["mqtt://h", "mqtts://h:1", "http://h", "mqtt://u:p@h", "h"]),
            username=st.just("u"),
            password_file=st.just("p"),
            prefix=st.sampled_from(["vigil", "a/b", "/a", "a//b", "A"]),
            protocol=st.sampled_from(["auto", "5", "3.1.1", 5, 3.1, "4"]),
            keepalive=ANY_DURATION,
        ),
        "outbox": section(max_rows=st.sampled_from([100, 99, 10**6]), max_size=ANY_SIZE),
        "metrics": section(
            address=st.sampled_from(["127.0.0.1", "::1", "localhost"]),
            port=st.sampled_from([1, 65535, 0, 65536]),
        ),
        "defaults": section(**DEFAULTS),
        "bundel": SCALARS,
    },
)


def test_the_published_file_is_what_the_model_says() -> None:
    published = SCHEMA_PATH.read_text(encoding="utf-8")
    assert published == schema_text(), "write it anew: SCHEMA_PATH.write_text(schema_text())"
    jsonschema.Draft202012Validator.check_schema(config_schema())
    result = CliRunner().invoke(run, ["--schema"])
    assert (result.exit_code, result.stdout) == (0, published)


@settings(max_examples=150)
@given(DOCUMENTS)
def test_what_the_parser_accepts_the_schema_accepts_and_the_rest_is_known(document: Any) -> None:
    parser, schema = parser_says(document), schema_says(document)
    if not parser:
        assert schema == []
    if schema:
        assert parser != []
    else:
        for message in parser:
            assert any(words in message for words in BEYOND_SCHEMA), message


@settings(max_examples=30)
@given(
    cameras=st.dictionaries(
        st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True),
        st.fixed_dictionaries(
            {"source": st.sampled_from(["rtsp://h/x", 0, "a.mp4"])},
            optional={
                "enabled": st.booleans(),
                "connect_timeout": GOOD_DURATION,
                "memory_max": st.sampled_from(["64MiB", "1GiB"]),
                "masks": st.lists(SQUARE, max_size=2),
                "zones": st.fixed_dictionaries(
                    {"gate": st.fixed_dictionaries({"polygon": SQUARE})}
                ),
                "clip": st.fixed_dictionaries({}, optional={"post_roll": st.just("9s")})
                | st.none(),
            },
        ),
        min_size=1,
        max_size=3,
    ),
    flush=st.sampled_from(["10s", "5 m"]),
)
def test_good_files_are_accepted_by_both(cameras: dict[str, Any], flush: str) -> None:
    document = {
        "schema_version": 1,
        "bundle": "b",
        "state": "/s",
        "mqtt": {"flush": flush},
        "cameras": cameras,
    }
    assert parser_says(document) == []
    assert schema_says(document) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"snapshots": "yes"},
        {"threads": "4"},
        {"threads": True},
        {"analysis_fps": "5"},
        {"cameras": {}},
        {"cameras": {"Yard": {"source": 0}}},
        {"cameras": {"yard": {}}},
        {"cameras": {"yard": {"source": 0, "souce": 1}}},
        {"cameras": {"yard": {"source": 0, "masks": [[[0, 0], [1, 1]]]}}},
        {"defaults": {"source": "x"}},
        {"mqtt": {"keepalive": 30}},
        {"outbox": {"max_size": 1000}},
        {"metrics": {"port": 0}},
        {"schema_version": 2},
    ],
)
def test_plain_mistakes_are_seen_by_both(changes: dict[str, Any]) -> None:
    good = {"schema_version": 1, "bundle": "b", "state": "s", "cameras": {"yard": {"source": 0}}}
    assert parser_says(good) == schema_says(good) == []
    assert parser_says({**good, **changes})
    assert schema_says({**good, **changes})


def test_editors_show_what_each_key_means() -> None:
    schema = config_schema()
    silent = [
        f"{name}.{key}"
        for name, part in (("", schema), *schema["$defs"].items())
        for key, field in part["properties"].items()
        if not field.get("description") and name != "OutboxConfig"
    ]
    assert silent == []
