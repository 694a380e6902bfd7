from collections import Counter

import pytest
from clips import planned
from PIL import Image
from typer.testing import CliRunner

from cluster import scaling
from cluster.scaling import HEADER, HeldQueue, Scaling, scaling_table
from tempprop.clip_queue import queue_of
from tempprop.spec import RenderConfig


def call(*options):
    return CliRunner().invoke(scaling.app, [str(option) for option in options])


@pytest.mark.slow
def test_scaling_is_measured_from_one_gpu_on(tmp_path):
    out, plot = tmp_path / "measurements" / "scaling.json", tmp_path / "scaling.png"
    ended = call(
        "--gpus", "2", "--seconds", 0.2, "--clips-per-gpu", 4, "--out", out, "--plot", plot
    )
    assert ended.exit_code == 0, ended.output
    measured = Scaling.model_validate_json(out.read_text())
    assert (
        measured.command == "python -m cluster.scaling --gpus 1,2 --seconds 0.2 --clips-per-gpu 4"
    )
    assert measured.cores >= 1
    assert measured.seconds_per_clip == 0.2
    assert [row.gpus for row in measured.rows] == [1, 2]
    for row in measured.rows:
        assert row.clips == 4 * row.gpus
        # Each worker holds two when the queue runs dry, unless some were committed at that moment.
        assert 2 * row.gpus <= row.clips_counted < row.clips
        assert row.start_seconds > 0
        assert row.clips_per_second == pytest.approx(row.clips_counted / row.seconds, rel=0.01)
        assert row.ideal == pytest.approx(row.gpus / 0.2)
        assert 0 < row.clips_per_second <= row.ideal
        assert row.efficiency > 0
    assert measured.rows[0].efficiency == 1.0
    assert scaling_table(measured) in ended.output
    assert Image.open(plot).format == "PNG"


def test_a_held_queue_gives_nothing_before_it_is_opened():
    config = RenderConfig()
    queue = HeldQueue(queue_of([planned(config, "a"), planned(config, "b")]))
    assert queue.take((), Counter()) is None
    assert (len(queue), queue.peek((), Counter()).spec.clip_id) == (2, "a")
    assert (queue.opened_at, queue.dry_at) == (None, None)
    queue.open()
    opened = queue.opened_at
    assert queue.take((), Counter()).spec.clip_id == "a"
    assert queue.dry_at is None
    assert queue.take((), Counter()).spec.clip_id == "b"
    dry = queue.dry_at
    assert dry >= opened
    queue.open()
    assert queue.take((), Counter()) is None
    assert (queue.opened_at, queue.dry_at) == (opened, dry)


@pytest.mark.parametrize("numbers", ["", "two", "0,1", "1,,2", "-1"])
def test_what_is_no_list_of_numbers_is_refused(numbers, tmp_path):
    ended = call("--gpus", numbers, "--out", tmp_path / "s.json", "--plot", tmp_path / "s.png")
    assert ended.exit_code == 2
    assert "is no list of numbers" in ended.output
    assert not list(tmp_path.iterdir())


def test_the_table_has_a_row_for_each_number_of_gpus():
    row = {"clips": 12, "seconds": 4.0, "start_seconds": 1.0, "clips_counted": 8, "ideal": 2.5}
    rows = (
        scaling.Throughput(gpus=1, clips_per_second=2.0, efficiency=1.0, **row),
        scaling.Throughput(gpus=2, clips_per_second=2.0, efficiency=0.5, **row),
    )
    measured = Scaling(command="c", cores=2, seconds_per_clip=0.4, rows=rows)
    assert scaling_table(measured).splitlines() == [
        *HEADER.splitlines(),
        "| 1 | 8 | 2.00 | 2.50 | 80.0% | 100.0% |",
        "| 2 | 8 | 2.00 | 2.50 | 80.0% | 50.0% |",
    ]
