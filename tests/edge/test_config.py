"""The configuration: all mistakes at once, each at its line, and nothing secret repeated."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.capture.camera_state import Patience
from edge.config import Config, ConfigFileError, config_from_text, load_config
from edge.events.film import FilmSpec
from edge.scoring.cell_rules import CellRules, Zone
from edge.yaml_positions import parse
from engines.errors import InputMissingError

GOOD = """\
schema_version: 1
device: gate-01
bundle: bundle
state: /var/lib/vigil
mqtt:
  url: mqtts://broker.local
  username: vigil
  password_file: secret
  protocol: 5
  keepalive: 15s
  reconnect_max: 2m
outbox: {max_size: 2MiB, max_rows: 500}
defaults: {realtime: true}
cameras:
  yard: {source: rtsp://10.0.0.7/one}
  door: {source: clips/door.mp4, realtime: false, fps: 12.5}
  usb: {source: 0}
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigFileError) as caught:
        config_from_text(text, file="gate.yaml", folder=Path("/etc/vigil"))
    return [problem.render("gate.yaml") for problem in caught.value.problems]


def good(text: str = GOOD) -> Config:
    return config_from_text(text, file="gate.yaml", folder=Path("/etc/vigil"))


def test_a_good_file_is_read_with_units_defaults_and_paths_from_its_folder() -> None:
    config = good()
    assert config.bundle == Path("/etc/vigil/bundle")
    assert config.state == Path("/var/lib/vigil")
    assert config.media_folder == Path("/var/lib/vigil/media")
    assert config.mqtt.password_file == Path("/etc/vigil/secret")
    assert config.mqtt.protocol == "5"
    assert (config.mqtt.keepalive, config.mqtt.reconnect_max) == (15.0, 120.0)
    assert (config.mqtt.address.host, config.mqtt.address.port) == ("broker.local", 8883)
    assert (config.outbox.max_size, config.outbox.max_rows) == (2 * 2**20, 500)
    assert config.cameras["yard"].realtime is True
    assert config.cameras["yard"].source == "rtsp://10.0.0.7/one"
    assert config.cameras["door"].realtime is False
    assert config.cameras["door"].source == "/etc/vigil/clips/door.mp4"
    assert config.cameras["usb"].source == "0"


def test_every_mistake_is_told_at_once_at_its_line_and_column() -> None:
    text = """\
schema_version: 1
device: Gate 01
bundel: ./b
state: s
mqtt:
  url: mqtt://host
  keepalive: 10
  keepalive: 20s
cameras:
  yard:
    souce: rtsp://x
    fps: -1
  on:
    source: 0
"""
    assert problems_of(text) == [
        "gate.yaml:1:1: bundle: the key `bundle` is missing",
        "gate.yaml:2:1: device: names are 1 to 32 of a-z, 0-9, _ and -",
        "gate.yaml:3:1: bundel: unknown key; did you mean `bundle`?",
        "gate.yaml:7:3: mqtt.keepalive: write a number and a unit (ms, s, m, h, d), such as 10s",
        "gate.yaml:8:3: mqtt.keepalive: this key stands here twice, first in line 7",
        "gate.yaml:10:3: cameras.yard.source: the key `source` is missing",
        "gate.yaml:11:5: cameras.yard.souce: unknown key; did you mean `source`?",
        "gate.yaml:12:5: cameras.yard.fps: Input should be greater than 0",
        "gate.yaml:13:3: cameras: keys must be text, found True; write it in quotes",
    ]


def test_a_wrong_default_is_told_once_where_it_stands() -> None:
    text = GOOD.replace("{realtime: true}", "{fps: fast}")
    found = problems_of(text)
    assert len(found) == 1
    assert found[0].startswith("gate.yaml:13:12: defaults.fps: ")


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    found = problems_of(GOOD.replace("mqtts://broker.local", "mqtt://bob:hunter2@broker.local"))
    assert len(found) == 1
    assert "gate.yaml:6:3: mqtt.url: " in found[0]
    assert "password_file" in found[0]
    assert "hunter2" not in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "gate.yaml:1:1: the file is empty"),
        ("- a\n- b\n", "gate.yaml:1:1: the file must be a mapping"),
        ("a: [1, 2\nb: 3\n", "gate.yaml:2:2: not YAML: "),
        ("a: &x [*x]\n", "nested deeper than"),
        ("a: " + "[" * 2000, "gate.yaml:1:"),
        ("a: !!python/object:os.system x\n", "could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("a: \x00", "not YAML"),
        ("{[1]: 2}", "keys must be text, found a list or mapping"),
    ],
)
def test_what_is_no_configuration_is_told_and_never_a_traceback(text: str, expected: str) -> None:
    assert any(expected in problem for problem in problems_of(text))


def test_aliases_cannot_blow_up() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    document = parse("\n".join(levels))
    assert any("too many aliases" in problem.message for problem in document.problems)


def test_a_file_that_is_missing_too_large_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        load_config(tmp_path / "nothing.yaml")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(ConfigFileError, match="larger than 1 MiB"):
        load_config(large)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigFileError, match=r"binary\.yaml:2:1: not UTF-8"):
        load_config(binary)


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(GOOD)
    assert load_config(file).bundle == tmp_path / "bundle"


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (
            "rtsp://10.0.0.7/one",
            "ftp://u:hunter2@10.0.0.7/one",
            "cameras.yard.source: Sources of type 'ftp' are not known; use a path or one of csi, ",
        ),
        (
            "rtsp://10.0.0.7/one",
            '"gst:rtspsrc location=rtsp://u:hunter2@h/ \'x"',
            "cameras.yard.source: the pipeline cannot be read: No closing quotation; write it as",
        ),
        (
            "device: gate-01",
            "backend: tensorr",
            "backend: there is no backend 'tensorr'; choose one of auto, tensorrt, ",
        ),
        ("device: gate-01", "backend: auto/int4", "there is no precision 'int4'; choose one of"),
        ("mqtts://broker.local", "mqtts://broker.local:0", "not the address of a broker"),
    ],
)
def test_what_would_fail_at_the_start_is_found_by_the_check(
    before: str, after: str, problem: str
) -> None:
    (found,) = problems_of(GOOD.replace(before, after))
    assert problem in found
    assert "hunter2" not in found


def problems_or_none(text: str) -> list[str]:
    try:
        config_from_text(text, file="x", folder=Path("/"))
    except ConfigFileError as error:
        return [problem.render("x") for problem in error.problems] or ["an error without problems"]
    return []


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_refused_with_problems(text: str) -> None:
    assert problems_or_none(text) not in ([], ["an error without problems"])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(GOOD.splitlines()), st.text(max_size=12))
def test_any_broken_line_is_told_or_harmless(line: str, text: str) -> None:
    assert problems_or_none(GOOD.replace(line, text, 1)) != ["an error without problems"]


CAMERAS = """\
schema_version: 1
bundle: bundle
state: state
analysis_fps: 8
defaults: {stale_after: 4s, backoff_max: 2m, clip: {pre_roll: 3s, post_roll: 2s}}
cameras:
  yard:
    source: rtsp://10.0.0.7/one
    lost_after: 500ms
    masks: [[[0, 0], [1, 0], [1, 0.2], [0, 0.2]]]
    zones:
      gate: {polygon: [[0.5, 0.5], [1, 0.5], [1, 1]], threshold_offset: -0.5}
    overlay: [[[0, 0], [0.3, 0], [0.3, 0.05]]]
  csi: {source: "csi://0?width=1280&height=720&fps=15", enabled: false}
  test: {source: "gst:videotestsrc ! videorate", clip: {fps: 2, width: 320, max_size: 4MiB}}
"""


def test_cameras_have_limits_places_and_clips() -> None:
    config = good(CAMERAS)
    yard = config.cameras["yard"]
    assert config.analysis_fps == 8.0
    assert yard.patience == Patience(stale_s=4.0, lost_s=0.5, backoff_max_s=120.0)
    assert yard.rules == CellRules(
        masks=(((0.0, 0.0), (1.0, 0.0), (1.0, 0.2), (0.0, 0.2)),),
        zones=(Zone("gate", ((0.5, 0.5), (1.0, 0.5), (1.0, 1.0)), -0.5),),
    )
    assert yard.overlay == (((0.0, 0.0), (0.3, 0.0), (0.3, 0.05)),)
    assert yard.clip is not None
    assert yard.clip.spec == FilmSpec(pre_s=3.0, post_s=2.0)
    assert config.cameras["csi"].source == "csi://0?width=1280&height=720&fps=15"
    assert not config.cameras["csi"].enabled
    assert config.cameras["test"].source == "gst:videotestsrc ! videorate"
    assert config.cameras["test"].clip is not None
    assert config.cameras["test"].clip.spec == FilmSpec(5.0, 5.0, 2.0, 320, 4 * 2**20)


def test_mistakes_deep_in_a_camera_are_told_at_their_line() -> None:
    text = CAMERAS.replace("lost_after: 500ms", "lost_afer: 500ms")
    text = text.replace("[1, 0.2]", "[1, 1.2]").replace("polygon: ", "polygn: ")
    text = text.replace("[0.3, 0], [0.3, 0.05]", "[0.5, 0.5], [1, 1]").replace("fps: 2,", "fp: 2,")
    text = text.replace("csi://0", "csi://front").replace("post_roll: 2s", "post_role: 2s")
    found = problems_of(text)
    expected = [
        "gate.yaml:5:67: defaults.clip.post_role: unknown key; did you mean `post_roll`?",
        "gate.yaml:9:5: cameras.yard.lost_afer: unknown key; did you mean `lost_after`?",
        "gate.yaml:10:34: cameras.yard.masks[0][2][1]: Input should be less than or equal to 1",
        "gate.yaml:12:7: cameras.yard.zones.gate.polygon: the key `polygon` is missing",
        "gate.yaml:12:14: cameras.yard.zones.gate.polygn: unknown key; did you mean `polygon`?",
        "gate.yaml:13:15: cameras.yard.overlay[0]: the corners lie on one line",
        "gate.yaml:14:9: cameras.csi.source: this is not the address of a CSI camera",
        "gate.yaml:15:57: cameras.test.clip.fp: unknown key; did you mean `fps`?",
    ]
    assert [told.split(", so ")[0].split("; write ")[0] for told in found] == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  protocol: 5", "  key_file: k.pem", "mqtt: key_file needs certificate_file"),
        ("mqtts://broker", "mqtt://broker", "mqtt: files for TLS need an address that begins with"),
        ("device: gate-01", "home_assistant: {discover: true}", "did you mean `discovery`?"),
        ("device: gate-01", "home_assistant: {prefix: a//b}", "home_assistant.prefix: "),
        ("max_size: 2MiB", f"max_size: {'9' * 400}MiB", ""),
        ("bundle: bundle", "bundle: ~nobody-at-all/b", "bundle: this user has no home folder"),
        ("bundle: bundle", 'bundle: "a\\0b"', "bundle: a path holds no NUL character"),
    ],
)
def test_broker_and_home_assistant_sections(old: str, new: str, expected: str) -> None:
    text = GOOD.replace("  protocol: 5", "  ca_file: ca.pem\n  protocol: 5").replace(old, new)
    if not expected:
        assert good(text).outbox.max_size == 2**63
        return
    found = problems_of(text)
    assert len(found) == 1
    assert expected in found[0]


def test_home_assistant_is_told_nothing_unless_asked() -> None:
    assert good().home_assistant.discovery is False
    assert good().mqtt.snapshots is False
    assert good().mqtt.insecure_skip_verify is False
