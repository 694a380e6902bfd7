"""The loop that trains the parts of the embedded model."""

from functools import partial

import pytest
import torch
import typer
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from tempprop.mini import MINI_PATH
from tempprop.mini.networks import take_over
from tempprop.mini.progress import Budget, learning_rate
from tempprop.mini.train import efforts_of, train
from tempprop.mini.training import Effort, Recipe, average_into, load_checkpoint, train_module

INNER = ("0.weight", "1.weight")
RECIPE = Recipe("line", INNER.__contains__, muon_rate=0.03, adam_rate=0.03, averaging=0.9, warmup=5)
SECOND = 1 / 60


def regression(seen: list[int]):
    torch.manual_seed(0)
    line = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 1))

    def part(inputs):
        loss = (line(inputs) - (inputs[:, :1] * 3 - 1)).square().mean()
        return loss, {"loss": loss}

    def batch(count, progress):
        seen.append(count)
        inputs = torch.randn(32, 2)
        return [partial(part, inputs[share::2]) for share in range(2)]

    return line, batch


def test_a_training_goes_on_where_it_was_interrupted(tmp_path):
    steps: list[int] = []
    line, batch = regression(steps)
    effort = Effort(minutes=SECOND, device=torch.device("cpu"))
    train_module(line, RECIPE, batch, tmp_path, effort)
    first = load_checkpoint(tmp_path / "line.pt")
    assert first is not None
    assert first["step"] == len(steps)

    line, batch = regression(steps)
    effort = Effort(minutes=4 * SECOND, device=torch.device("cpu"))
    average = train_module(line, RECIPE, batch, tmp_path, effort)
    second = load_checkpoint(tmp_path / "line.pt")
    assert steps == list(range(second["step"]))
    assert second["step"] > first["step"]
    assert second["curve"][: len(first["curve"])] == first["curve"]
    assert [point["step"] for point in second["curve"]] == list(range(20, second["step"] + 1, 20))
    assert second["curve"][-1]["loss"] < second["curve"][0]["loss"]
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_a_used_budget_trains_no_more(tmp_path):
    steps: list[int] = []
    line, batch = regression(steps)
    effort = Effort(minutes=SECOND, device=torch.device("cpu"))
    train_module(line, RECIPE, batch, tmp_path, effort)
    done = len(steps)
    line, batch = regression(steps)
    average = train_module(line, RECIPE, batch, tmp_path, effort)
    assert len(steps) == done
    saved = load_checkpoint(tmp_path / "line.pt")
    assert torch.equal(average[0].weight, saved["average"]["0.weight"])


def test_the_learning_rate_rises_and_falls_to_nothing():
    assert learning_rate(2.0, 0, 0.0, warmup=10) == pytest.approx(0.2)
    assert learning_rate(2.0, 50, 0.2, warmup=10) == 2.0
    assert learning_rate(2.0, 50, 0.65, warmup=10) == pytest.approx(1.0)
    assert learning_rate(2.0, 50, 1.0, warmup=10) == 0.0


def test_a_budget_counts_what_was_spent_before():
    assert Budget(minutes=1, spent=30).progress == pytest.approx(0.5, abs=0.05)
    assert Budget(minutes=1, spent=90).progress == 1.0


def test_an_average_forgets_the_first_weights():
    first, model = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        first.weight.fill_(100.0)
        model.weight.fill_(1.0)
    for step in range(100):
        average_into(first, model, step, decay=0.9)
    assert float(first.weight.detach()) == pytest.approx(1.0, abs=1e-2)


def test_a_gpu_takes_larger_batches_one_thread_and_less_time():
    on_cpu, on_gpu = (efforts_of(None, 7, torch.device(name), 2) for name in ("cpu", "cuda"))
    assert [effort.threads for effort in on_cpu + on_gpu] == [2, 2, 1, 1]
    assert {effort.batch_factor for effort in on_cpu} == {1}
    assert all(effort.batch_factor > 1 for effort in on_gpu)
    assert on_gpu[0].minutes < on_cpu[0].minutes
    assert on_cpu[1].minutes == on_gpu[1].minutes == 7


def test_weights_that_fit_are_taken_over_and_the_others_stay():
    here, there = (nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Embedding(n, 2)}) for n in (3, 5))
    words = here["b"].weight.detach().clone()
    take_over(here, there)
    assert torch.equal(here["a"].weight, there["a"].weight)
    assert torch.equal(here["b"].weight, words)


def test_the_embedded_model_can_be_trained_further(tmp_path):
    """A few steps of falling rates: the weights begin with those of the model that is named."""
    command = typer.Typer()
    command.command()(train)
    options = ["--start", str(MINI_PATH), "--stills", "60", "--threads", "1"]
    budgets = ["--minutes-vae", str(SECOND), "--minutes-denoiser", str(SECOND)]
    places = ["--output", str(tmp_path / "model"), "--work", str(tmp_path / "work")]
    result = CliRunner().invoke(command, [*options, *budgets, *places])
    assert result.exit_code == 0, result.output
    assert len(load_checkpoint(tmp_path / "work" / "latents.pt")["latents"]) < 60
    weights = "unet/diffusion_pytorch_model.safetensors"
    before, after = (load_file(place / weights) for place in (MINI_PATH, tmp_path / "model"))
    change = [float((after[name].float() - before[name].float()).abs().mean()) for name in before]
    size = [float(tensor.float().abs().mean()) for tensor in before.values()]
    assert 0 < sum(change) < 0.1 * sum(size)
