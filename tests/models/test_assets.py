"""The shipped weights: what the model card says of them is true."""

import re
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from lord.data.subjects import DOMAINS, sample_domain
from lord.metrics.features import load_features, recognise
from lord.models.card import sha256
from lord.models.embedded import build_tokenizer
from lord.models.pipeline import EMBEDDED, round_trip
from lord.models.sample import generate

ASSETS = EMBEDDED.parent


def test_everything_trained_fits_in_25_megabytes_of_safetensors():
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".txt"}


def test_the_checksums_of_the_model_card_hold():
    card = (EMBEDDED / "README.md").read_text()
    rows = re.findall(r"\| `(\S+\.safetensors)` \| \S+ \| `([0-9a-f]{64})` \|", card)
    assert {path for path, _ in rows} == {
        str(path.relative_to(EMBEDDED)) for path in EMBEDDED.rglob("*.safetensors")
    }
    assert all(sha256(EMBEDDED / path) == checksum for path, checksum in rows)


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
