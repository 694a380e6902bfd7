"""Names, tags and captions of the emoji."""

import json
import random
import re

import pytest
from emoji_packages import NAMES, table
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.errors import InputError
from tempprop.studies.emoji.annotations import (
    Annotation,
    annotation_of,
    plain_name,
    read_annotations,
    with_shared_tags,
)
from tempprop.studies.emoji.backgrounds import BACKGROUNDS
from tempprop.studies.emoji.captions import (
    MOST_WORDS,
    article_for,
    caption,
    captions_of,
    prompt_of,
)

words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
phrases = st.lists(words, min_size=1, max_size=5).map(" ".join)
annotations = st.builds(
    Annotation,
    code=st.just("1f600"),
    name=phrases,
    tags=st.lists(phrases, max_size=6).map(tuple),
    group=st.sampled_from(["smileys-emotion", "objects"]),
)


def named(name, *tags):
    return Annotation("1f600", name, tags, "people-body")


@settings(deadline=None)
@given(annotations, st.sampled_from(list(BACKGROUNDS)), st.integers())
def test_a_caption_names_the_emoji_and_its_background_in_few_words(annotation, background, seed):
    line = caption(annotation, background, random.Random(seed))
    assert f" {annotation.name}" in f" {line}"
    assert re.search(f"on (a )?{background}", line)
    assert re.fullmatch(r"[a-z]+(,? [a-z]+)*", line)
    assert len(line.split()) <= MOST_WORDS
    assert caption(annotation, background, random.Random(seed)) == line


def test_captions_vary_and_equal_frames_have_equal_ones():
    face = named("grinning face", "happy", "cheerful", "smile")
    assert captions_of(face, "mint", 3) == captions_of(face, "mint", 3)
    lines = {line for frame in range(40) for line in captions_of(face, "mint", frame)}
    assert len(lines) > 60
    openings = ("a grinning", "grinning", "an emoji", "a picture", "an illustration", "on ")
    assert all(any(line.startswith(opening) for line in lines) for opening in openings)
    assert any("cheerful and happy" in line for line in lines)
    assert any("people and body" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "plain", "kind"),
    [
        ("man: red hair", "red hair man", "red hair"),
        ("Mrs. Claus", "mrs claus", "mrs claus"),
        ("family: man, woman, boy", "family with man and woman and boy", "family"),
        ("couple with heart: man, man", "couple with heart with man and man", "couple with heart"),
        ("one o’clock", "one o'clock", "one o'clock"),
        ("women with bunny ears", "women with bunny ears", "with bunny ears"),
        ("woman", "woman", "woman"),
        ("two-hump camel", "two-hump camel", "two-hump camel"),
    ],
)
def test_names_are_made_plain_and_their_kind_says_not_who_it_is(name, plain, kind):
    assert (plain_name(name), named(plain_name(name)).kind) == (plain, kind)


@pytest.mark.parametrize(
    ("name", "article"),
    [
        ("eye", "an"),
        ("ewe", "a"),
        ("one o'clock", "a"),
        ("oncoming bus", "an"),
        ("hourglass done", "an"),
        ("hot face", "a"),
        ("umbrella", "an"),
        ("unicorn", "a"),
        ("unamused face", "an"),
    ],
)
def test_articles_go_by_the_sound(name, article):
    assert article_for(name) == article
    assert prompt_of(named(name), "navy") == f"{article} {name} emoji on a navy background"


def test_tags_of_one_animation_only_are_left_out():
    rows = [named("a", "happy", "joy"), named("b", "happy"), named("c", "sad")]
    assert [row.tags for row in with_shared_tags(rows)] == [("happy",), ("happy",), ()]


def test_names_are_found_by_code_points_with_and_without_selectors():
    rows = read_annotations(table(), "table")
    assert len(rows) == len(NAMES)
    assert annotation_of("2600-fe0f", rows).name == "sun"
    assert rows["1f609"].tags == ("cheerful", "face", "happy")
    assert annotation_of("1f3c3-200d-2642-fe0f", rows).name == "man running"
    with pytest.raises(InputError, match="1f999 has no name"):
        annotation_of("1f999", rows)


@pytest.mark.parametrize(
    "text",
    [b"", b"[", b"{}", b"[1]", b"\xff\xfe", json.dumps([{"hexcode": "1F600"}]).encode()],
)
def test_what_is_no_table_of_emoji_is_refused(text):
    with pytest.raises(InputError, match=r"openmoji\.json is not a table of emoji"):
        read_annotations(text, "openmoji.json")
