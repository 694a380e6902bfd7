from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from tempprop.keyframes import parse_keyframes, values_at, within, write_keyframes

numbers = st.floats(allow_nan=False, allow_infinity=False)
tracks = st.dictionaries(st.integers(0, 10**9 - 1), numbers, min_size=1, max_size=6).map(
    lambda pairs: ", ".join(f"{frame}:({pairs[frame]!r})" for frame in sorted(pairs))
)


@pytest.mark.parametrize(
    "same", [1, 1.0, "1", " 1.0 ", "1e0", "0:(1)", "7 : ( 1.0 )", "0:(1), 9:(1.0)"]
)
def test_what_means_the_same_is_equal(same):
    assert parse_keyframes(same) == ((0, 1.0),)


def test_keyframes_that_say_nothing_are_left_out():
    text = "0:(1), 3:(1), 5:(2), 6:(2), 8:(2), 9:(0), 12:(0)"
    assert parse_keyframes(text) == ((3, 1.0), (5, 2.0), (8, 2.0), (9, 0.0))


def test_there_is_one_zero():
    assert write_keyframes(parse_keyframes("-0.0")) == 0
    assert str(write_keyframes(parse_keyframes("0:(-0), 1:(1)"))) == "0:(0.0), 1:(1.0)"


def test_values_lie_on_straight_lines_and_are_held_outside():
    values = values_at(parse_keyframes("2:(1.0), 4:(2.0), 8:(0.0)"), np.arange(11))
    assert values.tolist() == [1, 1, 1, 1.5, 2, 1.5, 1, 0.5, 0, 0, 0]


@given(tracks, st.lists(st.integers(0, 10**9), min_size=1, max_size=5))
def test_the_shortest_form_has_the_same_values(text, frames):
    pairs = [part.split(":") for part in text.split(", ")]
    long = tuple((int(frame), float(value.strip("()"))) for frame, value in pairs)
    frames = np.array([*frames, *(frame for frame, _ in long)])
    assert np.allclose(values_at(parse_keyframes(text), frames), values_at(long, frames))


@given(tracks | numbers)
def test_writing_and_reading_is_a_round_trip(value):
    keyframes = parse_keyframes(value)
    assert parse_keyframes(write_keyframes(keyframes)) == keyframes


@pytest.mark.parametrize("text", ["0:(sin(t))", "0:(1.0), 24:(t*2)", "max(1, 2)", "__import__"])
def test_expressions_are_refused_and_the_message_says_why(text):
    with pytest.raises(ValueError, match=r"expressions such as sin\(t\) are not evaluated"):
        parse_keyframes(text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "must be a number, or keyframes"),
        ("0:(1.0),", "must be a number, or keyframes"),
        ("0:1.0", "must be a number, or keyframes"),
        ("-1:(1.0)", "must be a number, or keyframes"),
        ("0.5:(1.0)", "must be a number, or keyframes"),
        ("0:(1.0) 5:(2.0)", "must be a number, or keyframes"),
        ("1_0", "must be a number, or keyframes"),
        ("١", "must be a number, or keyframes"),
        ("nan", "must be a number, or keyframes"),
        (True, "must be a number, or keyframes"),
        (None, "must be a number, or keyframes"),
        ([[0, 1.0]], "must be a number, or keyframes"),
        (float("nan"), "finite"),
        ("1e999", "finite"),
        (10**400, "finite"),
        ("0:(1), 0:(2)", "in their order"),
        ("5:(1), 2:(1)", "in their order"),
    ],
)
def test_anything_else_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        parse_keyframes(value)


@given(st.text() | st.text("01e:(). ,-"))
def test_any_text_is_read_as_finite_values_or_refused(text):
    with suppress(PydanticCustomError):
        assert np.isfinite(values_at(parse_keyframes(text), np.arange(3))).all()


def test_every_value_must_lie_in_the_range():
    check = within(0.5, 2)
    assert check(((0, 0.5), (9, 2.0))) == ((0, 0.5), (9, 2.0))
    with pytest.raises(ValueError, match=r"from 0\.5 to 2"):
        check(((0, 1.0), (9, 2.01)))
