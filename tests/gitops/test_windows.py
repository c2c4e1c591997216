"""Maintenance windows, against a plain reading of them minute by minute."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from reconciler.gitops.windows import DAYS, Window, opens

MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda m: m.replace(tzinfo=UTC))  # noqa: DTZ001
CLOCK = st.integers(0, 24 * 60 - 1)


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, set[int], int, int]:
    start, end = draw(CLOCK), draw(CLOCK)
    if start == end:
        end = (end + 1) % (24 * 60)
    days = draw(st.sets(st.integers(0, 6), min_size=1))
    text = ",".join(DAYS[d].title() for d in sorted(days))
    clock = [f"{m // 60:02}:{m % 60:02}" for m in (start, end)]
    return Window.parse(f"{text} {clock[0]}-{clock[1]} UTC"), days, start, end


@given(windows(), MOMENTS)
def test_a_window_holds_the_minutes_from_its_start_on_its_days(
    drawn: tuple[Window, set[int], int, int], moment: datetime
) -> None:
    window, days, start, end = drawn
    length = (end - start) % (24 * 60)
    inside = False
    for back in range(length):
        begun = moment - timedelta(minutes=back)
        if begun.hour * 60 + begun.minute == start and begun.weekday() in days:
            inside = True
    assert window.holds(moment) == inside


@given(st.lists(windows(), min_size=1, max_size=3), MOMENTS)
def test_the_next_opening_is_the_first_minute_that_some_window_holds(
    drawn: list[tuple[Window, set[int], int, int]], moment: datetime
) -> None:
    listed = [window for window, *_ in drawn]
    found = opens(listed, moment)
    if any(window.holds(moment) for window in listed):
        assert found is None
        return
    assert found is not None and found > moment and any(window.holds(found) for window in listed)
    assert not any(window.holds(found - timedelta(minutes=1)) for window in listed)


def test_spans_of_days() -> None:
    assert Window.parse("Fri-Mon 01:00-02:00").days == {4, 5, 6, 0}
    assert Window.parse("01:00-02:00").days == set(range(7))
    assert opens([], datetime.now(UTC)) is None


def test_a_window_that_a_clock_skips_is_no_error() -> None:
    """On the day on which clocks are put forward there is no hour from two to three."""
    words = ["-c", "import datetime as d; from reconciler.gitops.windows import *; n = d.datetime(2027, 3, 24, tzinfo=d.UTC); "
             "print(opens([Window.parse('Sun 02:00-03:00')], n))"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, *words], env={**os.environ, "TZ": "Europe/Berlin"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("2027-04-04 00:00"), done.stdout
