"""The shipped weights: what the model card says of them is true."""

import re
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from lord.data.subjects import DOMAINS, sample_domain
from lord.metrics.features import load_features, recognise
from lord.metrics.fid import extract, fid
from lord.models.card import EMBEDDED, PIXEL, sha256
from lord.models.embedded import build_tokenizer
from lord.models.pipeline import round_trip
from lord.models.pixel import load_ddpm, noise_shape, sample
from lord.models.sample import generate

ASSETS = EMBEDDED.parent


def test_everything_trained_is_small_and_no_pickle():
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".txt"}
    in_pixels = [path for path in files if PIXEL in path.parents]
    assert sum(path.stat().st_size for path in in_pixels) <= 8e6
    others = [path for path in files if path not in in_pixels]
    assert sum(path.stat().st_size for path in others) <= 25e6


@pytest.mark.parametrize("folder", [EMBEDDED, PIXEL], ids=["latent", "pixel"])
def test_the_checksums_of_the_model_card_hold(folder):
    card = (folder / "README.md").read_text()
    rows = re.findall(r"\| `(\S+\.safetensors)` \| \S+ \| `([0-9a-f]{64})` \|", card)
    assert {path for path, _ in rows} == {
        str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")
    }
    assert all(sha256(folder / path) == checksum for path, checksum in rows)


def test_the_unconditional_model_draws_what_renders_look_like():
    """Hardly further from renders, in features, than as many other renders are."""
    pipeline = load_ddpm("embedded", "cpu")
    noise = torch.randn((32, *noise_shape(pipeline)), generator=torch.Generator().manual_seed(0))
    samples = sample(pipeline, noise, 20, range(32))
    pictures = sample_domain("portraits", "evaluation", range(256 + 32), 32).images
    network = load_features()
    reference, others, own = (
        extract(network, torch.nn.functional.interpolate(images, (64, 64), mode="bilinear"))
        for images in (pictures[:256], pictures[256:], samples)
    )
    assert fid(reference, own) < 1.5 * fid(reference, others)


def test_stock_diffusers_generates_from_a_prompt():
    pipeline = StableDiffusionPipeline.from_pretrained(EMBEDDED)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        "a landscape of dunes, at noon, clear sky",
        num_inference_steps=4,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    assert images.shape == (1, 64, 64, 3)


def test_the_shipped_tokenizer_is_the_one_the_code_builds(embedded):
    assert embedded.tokenizer.get_vocab() == build_tokenizer().get_vocab()


def test_held_out_renders_survive_the_autoencoder(embedded):
    for domain in DOMAINS:
        images = sample_domain(domain, "evaluation", range(12)).images
        error = (round_trip(embedded, images) - images).square().mean(dim=(1, 2, 3))
        assert (-10 * error.log10()).mean() >= 29  # dB


def test_samples_show_what_their_prompts_ask_for(embedded):
    """In fewer steps than usual, which is harder."""
    features = load_features()
    for domain in DOMAINS:
        asked = sample_domain(domain, "evaluation", range(12))
        samples = generate(embedded, asked.captions, range(12), steps=8)
        recognised = recognise(features, samples, domain)
        shares = [(recognised[n] == asked.attributes[n]).float().mean() for n in recognised]
        assert sum(shares) / len(shares) >= 0.85


def test_the_package_data_holds_the_weights():
    declared = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert "assets/**/*" in declared
