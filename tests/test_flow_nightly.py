import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.nightly import check_absolute, with_date
from tempprop.errors import InputError


@given(st.text())
def test_only_the_date_is_replaced(text):
    assert with_date(text, "2026-11-23") == text.replace("{date}", "2026-11-23")


def test_relative_paths_are_refused():
    check_absolute("/data/clips.parquet", "s3://studio/library")
    with pytest.raises(InputError, match=r"'library' is a relative path"):
        check_absolute("/data/clips.parquet", "library")
