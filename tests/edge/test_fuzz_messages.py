"""Event JSON made by chance: what is sent fits its schema, what is read harms nobody."""

import datetime
import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import ManualClock
from support.scores import detector, frame, scored

from edge.events.event import end_after_restart, load_schema
from edge.events.tracker import EventTracker
from edge.publish.outbox import Bounds, Outbox
from edge.watch import MAX_MESSAGE_BYTES, Reader

VALIDATOR = jsonschema.Draft202012Validator(load_schema())
STREAM = "0190a3f2-5a2e-7c44-9b1e-3f0a2d6c8e11"
TOPIC = "vigil/gate-01/event"


@settings(max_examples=60)
@given(
    st.lists(st.floats(min_value=-1e30, max_value=1e30), min_size=1, max_size=40),
    st.datetimes(
        min_value=datetime.datetime(1970, 1, 2),  # noqa: DTZ001  # hypothesis wants it so
        max_value=datetime.datetime(9990, 1, 1),  # noqa: DTZ001
        timezones=st.just(datetime.timezone.utc),
    ),
)
def test_whatever_the_scores_and_the_clock_each_message_fits_the_schema(
    scores: list[float], moment: datetime.datetime
) -> None:
    clock = ManualClock()
    clock.wall = moment
    tracker = EventTracker(device="gate-01", camera="yard", detector=detector(), clock=clock)
    payloads = []
    for index, score in enumerate(scores * 3):
        reports = tracker.update(frame(index), scored(frame(index), score))
        payloads += [report.event.payload() for report in reports]
    payloads += [report.event.payload() for report in tracker.finish("stopped")]
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    starts = [payload for payload in payloads if payload["phase"] == "start"]
    payloads += [end_after_restart(payload, now=now, clock="unsynced") for payload in starts]
    for number, payload in enumerate(payloads, start=1):
        text = json.dumps({**payload, "stream_id": STREAM, "seq": number}, allow_nan=False)
        VALIDATOR.validate(json.loads(text))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=15)
@given(payload=st.dictionaries(st.text(max_size=8), json_values, max_size=5))
def test_the_outbox_gives_back_what_it_was_given(
    tmp_path_factory: Any, payload: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("box") / "o.sqlite3"
    whole = {**payload, "id": "a", "phase": "start", "rev": 1}
    with Outbox(
        path,
        device="d",
        topic=TOPIC,
        clock=ManualClock(),
        bounds=Bounds(reserve_bytes=0),
    ) as box:
        seq = box.append(whole)
        (row,) = box.fetch(after=0, limit=2)
        expected = {"schema_version": 1, **whole, "stream_id": box.stream_id, "seq": seq}
        assert json.loads(row.payload) == expected
        assert box.open_events() == [expected]


FIELDS = (
    "device",
    "camera",
    "at",
    "why",
    "reason",
    "from_seq",
    "to_seq",
    "duration_s",
    "peak_score",
    "threshold",
    "started_position_s",
    "snapshot",
    "state",
    "cause",
)
numbers = st.sampled_from(
    [b"1e999", b"-1e999", b"9" * 4000, b"-" + b"9" * 4299, b"1e308", b"NaN", b"Infinity", b"0"]
)
nests = st.integers(1, 2000).map(lambda depth: b"[" * depth + b"]" * depth)
raw_values = st.one_of(
    numbers, nests, json_values.map(lambda value: json.dumps(value).encode()), st.binary(max_size=9)
)


@settings(max_examples=400)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"1", b"2", b"9223372036854775807", b"9" * 4300, b"-5", b"1.5"]),
            st.sampled_from(["start", "update", "end", "gap"]),
            st.dictionaries(st.sampled_from(FIELDS), raw_values, max_size=4),
            st.sampled_from([b"", b',"kind":"anomaly"', b',"kind":"camera"', b',"kind":[1]']),
        ),
        max_size=4,
    )
)
def test_hostile_numbers_and_nests_are_read_or_left_out(
    messages: list[tuple[bytes, str, dict[str, bytes], bytes]],
) -> None:
    reader = Reader()
    for seq, phase, fields, kind in messages:
        more = kind + b"".join(b',"%s":%s' % (key.encode(), value) for key, value in fields.items())
        raw = b'{"stream_id":"s","seq":%s,"phase":"%s"%s}' % (seq, phase.encode(), more)
        for heard in reader.read(TOPIC, raw):
            assert heard.line.isprintable()
            assert len(heard.line) <= 600
            if heard.payload is not None:
                json.loads(heard.text, parse_constant=sys.exit)


def test_what_a_reader_remembers_is_bounded(tmp_path: Path) -> None:
    """A flood of streams with the longest names, and of messages of the largest size."""
    reader = Reader()
    filler = "x" * (MAX_MESSAGE_BYTES - 300)
    tracemalloc.start()
    try:
        for number in range(2000):
            name = f"{number:064d}"
            text = filler if number % 100 == 0 else ""
            raw = f'{{"stream_id":"{name}","seq":1,"phase":"start","x":"{text}"}}'.encode()
            assert reader.read(TOPIC, raw)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * 2**20
