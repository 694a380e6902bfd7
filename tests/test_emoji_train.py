"""The recipe: it trains on what was prepared, goes on after an interruption, saves a pipeline."""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from emoji_packages import small_archives
from typer.testing import CliRunner

from tempprop.mini.networks import MAX_TOKENS
from tempprop.mini.recognize import generate
from tempprop.mini.train import cached_tokens
from tempprop.mini.training import load_checkpoint
from tempprop.studies.emoji.dataset import read_stills
from tempprop.studies.emoji.prepare import prepare_data
from tempprop.studies.emoji.train import app, belongs_to, tokenizer_of

SECOND = 1 / 60


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emoji")
    prepare_data(folder / "work", small_archives(folder))
    return folder / "work"


def train(work, minutes):
    options = ["--minutes-vae", str(minutes), "--minutes-denoiser", str(minutes), "--threads", "1"]
    result = CliRunner().invoke(app, [str(work), *options])
    assert result.exit_code == 0, result.output
    return load_checkpoint(work / "training" / "denoiser.pt")


def test_every_caption_is_tokens_in_the_order_of_the_stills(work, tmp_path):
    _, stills = read_stills(work)
    tokenizer = tokenizer_of(stills)
    captions = [line for still in stills for line in still.captions]
    tokens = cached_tokens(tokenizer, captions, tmp_path)
    assert tokens.shape == (len(captions), MAX_TOKENS)
    for index in (0, 33, len(captions) - 1):
        said = tokenizer.decode(tokens[index], skip_special_tokens=True)
        assert said.replace(" ,", ",") == captions[index]
    assert torch.equal(cached_tokens(tokenizer, [], tmp_path), tokens)


def test_a_training_makes_a_pipeline_and_is_not_begun_again(work):
    """One step of each part: what was trained is read from its checkpoints the second time."""
    first = train(work, SECOND)
    model = work / "training" / "model"
    weights = {path: path.read_bytes() for path in model.rglob("*.safetensors")}
    assert len(weights) == 3
    assert train(work, SECOND)["step"] == first["step"] >= 1
    assert {path: path.read_bytes() for path in model.rglob("*.safetensors")} == weights

    prompt = "a winking face emoji on a mint background"
    pictures = generate([prompt], steps=1, guidance=1, seed=0, model=model)
    assert pictures.shape == (1, 128, 128, 3)
    assert pictures.std() > 0
    tokenizer = StableDiffusionPipeline.from_pretrained(model, local_files_only=True).tokenizer
    assert tokenizer.tokenize(prompt) == [f"{word}</w>" for word in prompt.split()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "abacus"], "there is no device 'abacus'"),
        ([], "no prepared data"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, options, message):
    result = CliRunner().invoke(app, [str(tmp_path), *options])
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an NVIDIA GPU")
def test_a_gpu_that_is_not_there_is_missed(tmp_path):
    result = CliRunner().invoke(app, [str(tmp_path), "--device", "cuda"])
    assert result.exit_code == 2
    assert "torch sees no CUDA device" in result.stderr


def test_checkpoints_of_other_data_are_refused(tmp_path):
    work = tmp_path / "work"
    prepare_data(work, small_archives(tmp_path))
    for _ in range(2):
        belongs_to(work / "training", work)
    (work / "captions.json").write_bytes((work / "captions.json").read_bytes() + b"\n")
    result = CliRunner().invoke(app, [str(work)])
    assert result.exit_code == 2
    assert "began with other data" in result.stderr
