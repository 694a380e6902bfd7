"""The weights of the second domain: small, licensed, of its words, and drawn from."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from transformers import CLIPTokenizer
from typer.testing import CliRunner

from tempprop.studies.emoji.grid import WEIGHTS, app

PROMPTS = ("a green heart emoji on a navy background", "a fox emoji on a pink background")


def test_the_weights_are_half_precision_below_40_mb_and_come_with_their_licence():
    files = list(WEIGHTS.rglob("*.safetensors"))
    assert len(files) == 3
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 40e6
    for path in files:
        with safe_open(path, "pt") as tensors:
            assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"F16"}  # noqa: SIM118
    assert "Copyright (c) Microsoft Corporation" in (WEIGHTS / "LICENSE").read_text()


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_word_of_a_prompt_is_one_token(prompt):
    tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer", local_files_only=True)
    assert tokenizer.tokenize(prompt) == [f"{word}</w>" for word in prompt.split()]


def test_the_first_prompts_of_a_file_are_drawn_on_the_backgrounds_that_they_name(tmp_path):
    lines = [{"clip": f"{n}", "prompt": prompt, "seed": n} for n, prompt in enumerate(PROMPTS)]
    prompts, sheet = tmp_path / "prompts.jsonl", tmp_path / "grid.png"
    prompts.write_text("\n".join(map(json.dumps, [*lines, lines[0] | {"clip": "more"}])))
    result = CliRunner().invoke(app, [str(prompts), "--out", str(sheet), "--count", "2"])
    assert result.exit_code == 0, result.output
    picture = np.asarray(Image.open(sheet))
    assert picture.shape == (136, 1324, 3)
    corners = [picture[8:12, left : left + 4].mean((0, 1)) for left in (8, 140)]
    assert corners[0] == pytest.approx((34, 42, 76), abs=12)
    assert corners[1] == pytest.approx((246, 196, 212), abs=12)


def test_too_few_prompts_are_refused(tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"clip": "0", "prompt": PROMPTS[0], "seed": 0}))
    result = CliRunner().invoke(app, [str(prompts), "--out", str(tmp_path / "grid.png")])
    assert result.exit_code != 0
    assert "has 1 lines, not 40" in result.output.replace("\n", " ")
    assert not (tmp_path / "grid.png").exists()
