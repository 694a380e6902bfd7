from typer.testing import CliRunner

from cluster import planning

ROWS = 2000
COMMITTED = 50
STAGES = [
    "write the manifest",
    "commit records",
    "validate",
    "plan",
    "queue",
    "take the first clip",
]


def test_a_batch_is_planned_beside_what_is_committed(tmp_path):
    stages, plan, first = planning.measure_planning(ROWS, COMMITTED, tmp_path)
    assert [stage.name for stage in stages] == STAGES
    assert all(stage.seconds > 0 for stage in stages)
    growth = [stage.growth for stage in stages]
    # None at all where the process has room from tests before.
    assert growth == sorted(growth)
    assert growth[0] >= 0
    assert (plan.total, plan.committed, plan.pending) == (ROWS, COMMITTED, ROWS - COMMITTED)
    # All clips cost the same, so that those of the manifest follow in its order.
    assert first.spec.clip_id == f"clip-{COMMITTED:07}"
    assert len(list((tmp_path / "out" / "records").iterdir())) == COMMITTED


def test_the_command_prints_a_line_for_each_stage():
    ended = CliRunner().invoke(planning.app, ["--clips", str(ROWS), "--committed", "1"])
    assert ended.exit_code == 0, ended.output
    *lines, last = ended.output.splitlines()
    for line, name in zip(lines, [*STAGES, "in total"], strict=True):
        assert line.startswith(name)
        assert line.endswith(" MB")
    assert last == "2,000 clips, 1 committed before, 1,999 queued, the first of them clip-0000001"


def test_a_batch_in_which_all_is_committed_has_no_first_clip():
    ended = CliRunner().invoke(planning.app, ["--clips", "3", "--committed", "5"])
    assert ended.exit_code == 0, ended.output
    assert "3 clips, 3 committed before, 0 queued, the first of them none" in ended.output
