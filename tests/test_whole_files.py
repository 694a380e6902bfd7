"""A local file is there whole, or as it was before."""

import pytest

from tempprop.whole_files import draft_of, write_whole


def test_text_and_bytes_are_written(tmp_path):
    write_whole(tmp_path / "page.md", "→\n")
    write_whole(tmp_path / "plot.png", b"\x89PNG")
    assert (tmp_path / "page.md").read_bytes() == "→\n".encode()
    assert (tmp_path / "plot.png").read_bytes() == b"\x89PNG"


def test_who_reads_meanwhile_sees_the_old_file(tmp_path):
    path = tmp_path / "page.md"
    write_whole(path, "old")
    with draft_of(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def _write_half(path):
    with draft_of(path) as draft:
        draft.write_text("half")
        raise RuntimeError


@pytest.mark.parametrize("before", [[], ["page.md"]])
def test_a_failure_leaves_what_was_there(tmp_path, before):
    for name in before:
        write_whole(tmp_path / name, "old")
    with pytest.raises(RuntimeError):
        _write_half(tmp_path / "page.md")
    assert [path.name for path in tmp_path.iterdir()] == before
    assert all((tmp_path / name).read_text() == "old" for name in before)
