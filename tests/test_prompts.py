import pytest
import torch
from rendering import loaded
from tiny_pipelines import qwen_image, stable_diffusion

from tempprop.families import FAMILIES
from tempprop.prompts import batch_embeddings, encode_prompt, prompt_encoder


@pytest.fixture(scope="module")
def model():
    return loaded(stable_diffusion())


def test_embeddings_are_what_the_text_encoder_says(model):
    embeddings = encode_prompt(model, "a fox", "ugly", True)
    for name, text in (("prompt_embeds", "a fox"), ("negative_prompt_embeds", "ugly")):
        tokens = model.pipeline.tokenizer(text, padding="max_length", return_tensors="pt")
        with torch.no_grad():
            expected = model.pipeline.text_encoder(tokens.input_ids).last_hidden_state[0]
        assert torch.equal(embeddings[name], expected)


def test_without_guidance_nothing_negative_is_encoded(model):
    assert set(encode_prompt(model, "a fox", "", False)) == {"prompt_embeds"}


def test_the_prompts_that_were_used_last_are_kept(model):
    encode = prompt_encoder(model, prompts_kept=2)
    fox = encode("a fox", "", True)
    cat = encode("a cat", "", True)
    assert encode("a fox", "", True) is fox
    encode("a dog", "", True)
    assert encode("a fox", "", True) is fox
    assert encode("a cat", "", True) is not cat


def test_what_guidance_leads_away_from_belongs_to_the_prompt(model):
    encode = prompt_encoder(model)
    assert not torch.equal(
        encode("a fox", "ugly", True)["negative_prompt_embeds"],
        encode("a fox", "", True)["negative_prompt_embeds"],
    )


def test_every_row_of_a_batch_may_hold_another_prompt(model):
    family = FAMILIES["StableDiffusionPipeline"]
    frames = [encode_prompt(model, prompt, "", True) for prompt in ("a fox", "a cat")]
    batch = batch_embeddings(family, frames)
    assert batch.keys() == frames[0].keys()
    for name, rows in batch.items():
        assert torch.equal(rows, torch.stack([frame[name] for frame in frames]))


def test_shorter_prompts_are_padded_and_masked():
    model = loaded(qwen_image())
    frames = [encode_prompt(model, prompt, "", False) for prompt in ("a fox", "a sleeping cat")]
    lengths = [len(frame["prompt_embeds"]) for frame in frames]
    assert lengths[1] == lengths[0] + len("sleeping cat") - len("fox")
    batch = batch_embeddings(FAMILIES["QwenImagePipeline"], frames)
    assert batch["prompt_embeds_mask"].sum(dim=1).tolist() == lengths
    for row, mask, frame in zip(
        batch["prompt_embeds"], batch["prompt_embeds_mask"], frames, strict=True
    ):
        assert torch.equal(row[mask.bool()], frame["prompt_embeds"])
