"""The alarm machine against hand-worked sequences and a literal re-statement of its rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.alarm_rule import AlarmMachine, AlarmRule, Transition, alarm_events
from engines.errors import DataError
from engines.model_spec import AlarmSpec


def drive(
    pattern: str, *, fps: float = 10.0, **rule: float
) -> tuple[AlarmMachine, list[Transition]]:
    """'#' is a frame above the threshold, '.' one below."""
    machine = AlarmMachine(0.5, **rule)
    transitions = [machine.update(i / fps, float(c == "#")) for i, c in enumerate(pattern)]
    return machine, [t for t in transitions if t is not None]


def test_two_frames_above_open_nothing() -> None:
    machine, transitions = drive("..##..##.")
    assert transitions == []
    assert machine.state == "idle"
    assert machine.finish(1.0) is None


def test_the_third_frame_in_a_row_opens() -> None:
    machine, transitions = drive("..####")
    (opened,) = transitions
    assert opened.kind == "opened"
    assert opened.time_s == opened.event.opened_s == 0.4
    assert opened.event.first_s == 0.2
    assert machine.state == "active"
    assert machine.event is not None
    assert machine.event.last_s == machine.event.closed_s == 0.5


def test_a_score_equal_to_the_threshold_is_below() -> None:
    machine = AlarmMachine(1.0, open_frames=1)
    assert machine.update(0.0, 1.0) is None
    assert machine.update(0.1, math.nextafter(1.0, 2.0)) is not None


def test_it_falls_quiet_one_second_after_the_last_frame_above_and_closes_one_later() -> None:
    _, transitions = drive("###" + "." * 20)
    opened, closed = transitions
    assert (opened.kind, closed.kind) == ("opened", "closed")
    assert closed.event.last_s == 0.2
    assert closed.event.closed_s == pytest.approx(1.2)
    assert closed.time_s == pytest.approx(2.2)


def test_nine_frames_below_at_ten_per_second_do_not_close() -> None:
    machine, transitions = drive("###" + "." * 9 + "#" + "." * 9 + "#", merge_s=0.0)
    assert len(transitions) == 1
    assert machine.event is not None
    assert machine.event.last_s == pytest.approx(2.2)


def test_without_merging_it_closes_when_it_falls_quiet() -> None:
    _, transitions = drive("###" + "." * 10, merge_s=0.0)
    assert transitions[1].time_s == transitions[1].event.closed_s == pytest.approx(1.2)


def test_a_new_opening_while_merging_continues_the_event() -> None:
    machine, transitions = drive("###" + "." * 15 + "###" + "." * 20)
    assert [t.kind for t in transitions] == ["opened", "closed"]
    assert transitions[1].event.opened_s == 0.2
    assert transitions[1].event.last_s == pytest.approx(2.0)
    assert machine.event is None


def test_two_frames_above_while_merging_do_not_continue_it() -> None:
    machine, transitions = drive("###" + "." * 15 + "##" + "." * 10)
    assert [t.kind for t in transitions] == ["opened", "closed"]
    assert transitions[1].event.last_s == 0.2
    assert machine.state == "idle"


def test_a_new_opening_after_merging_is_a_new_event() -> None:
    _, transitions = drive("###" + "." * 20 + "###")
    assert [t.kind for t in transitions] == ["opened", "closed", "opened"]


def test_states_follow_each_other() -> None:
    machine = AlarmMachine(0.5)
    seen = []
    for i, c in enumerate("..###." + "." * 20):
        machine.update(i / 10, float(c == "#"))
        seen.append(machine.state)
    order = list(dict.fromkeys(seen))
    assert order == ["idle", "candidate", "active", "cooling", "merging"]
    assert seen[-1] == "idle"


def test_the_peak_counts_the_candidate_frames_and_names_its_time() -> None:
    events = alarm_events([0.0, 0.1, 0.2, 0.3], [3.0, 9.0, 2.0, 4.0], AlarmRule(1.0))
    assert [(e.peak_s, e.peak_score) for e in events] == [(0.1, 9.0)]


def test_a_peak_while_merging_counts_only_if_the_event_goes_on() -> None:
    times = np.arange(40) / 10
    scores = np.zeros(40)
    scores[:3], scores[15:18] = 2.0, (7.0, 3.0, 3.0)
    assert alarm_events(times, scores, AlarmRule(1.0))[0].peak_score == 7.0
    scores[17] = 0.0
    assert alarm_events(times, scores, AlarmRule(1.0))[0].peak_score == 2.0


def test_without_frames_the_timers_stand_still() -> None:
    machine = AlarmMachine(0.5)
    for i in range(3):
        machine.update(i / 10, 1.0)
    assert machine.update(60.0, 1.0) is None
    assert machine.state == "active"


def test_finish_closes_and_starts_afresh() -> None:
    machine, _ = drive("####")
    closed = machine.finish(0.7)
    assert closed is not None
    assert (closed.time_s, closed.event.last_s, closed.event.closed_s) == (0.7, 0.3, 0.7)
    assert machine.finish(0.8) is None
    assert machine.update(0.0, 1.0) is None  # time may begin again


def test_a_bundle_s_alarm_spec_is_a_rule() -> None:
    spec = AlarmSpec(
        threshold=0.5,
        open_frames=1,
        budget_per_hour=1.0,
        proven_per_hour=3.0,
        extrapolated=True,
        hours=1.0,
        events_seen=0,
        source="test",
    )
    assert len(alarm_events([0.0, 0.1], [1.0, 0.0], spec)) == 1


@pytest.mark.parametrize(("time", "score"), [(0.0, math.nan), (-1.0, 0.0), (math.nan, 0.0)])
def test_scores_that_are_no_numbers_and_falling_times_are_refused(
    time: float, score: float
) -> None:
    machine = AlarmMachine(0.5)
    machine.update(0.0, 0.0)
    with pytest.raises(DataError, match="score"):
        machine.update(time, score)


@pytest.mark.parametrize(
    "rule",
    [{"threshold": math.nan}, {"open_frames": 0}, {"close_s": -1.0}, {"merge_s": math.nan}],
)
def test_a_rule_out_of_range_is_refused(rule: dict[str, float]) -> None:
    with pytest.raises(DataError, match="alarm rule"):
        AlarmMachine(**{"threshold": 0.5, **rule})


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="2 times but 1"):
        alarm_events([0.0, 0.1], [1.0], AlarmRule(0.5))


def test_an_empty_clip_has_no_events() -> None:
    assert alarm_events([], [], AlarmRule(0.5)) == []


patterns = st.text(alphabet="#.", max_size=120)


@settings(deadline=None)
@given(patterns, st.integers(1, 4), st.integers(0, 8), st.integers(0, 8))
def test_openings_and_closings_alternate_and_times_are_in_order(
    pattern: str, open_frames: int, close: int, merge: int
) -> None:
    machine, transitions = drive(
        pattern, open_frames=open_frames, close_s=close / 10, merge_s=merge / 10
    )
    kinds = [t.kind for t in transitions]
    assert kinds == (["opened", "closed"] * len(kinds))[: len(kinds)]
    assert (machine.event is None) == (len(kinds) % 2 == 0)
    for t in transitions:
        assert t.event.first_s <= t.event.opened_s <= t.event.last_s <= t.event.closed_s <= t.time_s
        assert t.event.first_s <= t.event.peak_s <= t.event.last_s


@settings(deadline=None, max_examples=200)
@given(patterns, st.integers(1, 4), st.integers(0, 8), st.integers(0, 8))
def test_the_machine_counts_what_the_rules_say(
    pattern: str, open_frames: int, close: int, merge: int
) -> None:
    """Second implementation: the rules told over runs of equal frames, in whole frames."""
    rule = AlarmRule(0.5, open_frames, close / 10, merge / 10)
    scores = [float(c == "#") for c in pattern]
    found = alarm_events(np.arange(len(pattern)) / 10, scores, rule)
    runs = [(m, len(g)) for m, g in _runs(pattern)]
    expected: list[int] = []  # frame at which each event opens
    last, quiet, position = None, None, 0
    for mark, length in runs:
        end = position + length - 1
        if mark == "#":
            if last is not None and quiet is None:
                last = end
            elif length >= open_frames:
                if last is None:
                    expected.append(position + open_frames - 1)
                last, quiet = end, None
        elif last is not None:
            # below frames position .. end
            if quiet is None and end - last >= close:
                quiet = max(last + close, last + 1)
            if quiet is not None and end - quiet >= merge:
                last = quiet = None
        position = end + 1
    assert [round(e.opened_s * 10) for e in found] == expected


def _runs(pattern: str) -> list[tuple[str, str]]:
    runs: list[tuple[str, str]] = []
    for c in pattern:
        if runs and runs[-1][0] == c:
            runs[-1] = (c, runs[-1][1] + c)
        else:
            runs.append((c, c))
    return runs


@settings(deadline=None)
@given(patterns, patterns)
def test_more_frames_above_that_open_nothing_can_only_join_events(pattern: str, extra: str) -> None:
    """What the search for a proven threshold stands on."""
    width = max(len(pattern), len(extra))
    below, wish = pattern.ljust(width, "."), extra.ljust(width, ".")
    # Only such extra frames that no run of three has a frame more than before.
    more = "".join("#" if "#" in pair else "." for pair in zip(below, wish, strict=True))
    if _openers(more) != _openers(below):
        return
    times = np.arange(width) / 10
    rule = AlarmRule(0.5, 3, 0.3, 0.3)
    counts = [len(alarm_events(times, [float(c == "#") for c in p], rule)) for p in (below, more)]
    assert counts[1] <= counts[0]


def _openers(pattern: str) -> list[int]:
    return [i for i in range(2, len(pattern)) if pattern[i - 2 : i + 1] == "###"]
