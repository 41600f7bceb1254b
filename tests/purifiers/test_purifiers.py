import io
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from kornia.losses import total_variation
from PIL import Image
from scipy import sparse
from scipy.optimize import minimize

from lord.data.subjects import sample_domain
from lord.models.pipeline import decode_latents, encode_images, round_trip
from lord.models.pixel import TINY_PIXEL, build_ddpm
from lord.names import IN_PIXELS
from lord.purifiers import autoencoder, latent_diffusion, methods
from lord.purifiers.latent_diffusion import diffpure, gridpure
from lord.purifiers.methods import PURIFIERS, purify
from lord.purifiers.pixel_diffusion import purify_pixels
from lord.purifiers.settings import PixelPurifier

SIZE, SEEDS, PROMPTS = 32, [3, 4, 5], ["a portrait", "a landscape", "a portrait"]


@pytest.fixture(scope="module")
def images():
    """Renders with uniform noise of eight grey levels, as an attack would leave them."""
    clean = sample_domain("portraits", "train", range(3), SIZE).images
    change = torch.rand(clean.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    return (clean + 16 / 255 * change).clamp(0, 1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few steps where the default is a hundred, and few rounds."""

    def few(real):
        return lambda one, two, steps, **more: real(one, two, steps=min(steps, 20), **more)

    monkeypatch.setattr(autoencoder, "train", few(autoencoder.train))
    monkeypatch.setattr(autoencoder, "minimise", few(autoencoder.minimise))
    monkeypatch.setitem(PURIFIERS, "gridpure", partial(gridpure, rounds=3))
    for name in IN_PIXELS:
        settings = PixelPurifier(method=name.removeprefix("pixel_"), steps=2, rounds=1)
        monkeypatch.setitem(PURIFIERS, name, partial(methods.in_pixels, settings))


@pytest.fixture(scope="module")
def in_pixels():
    torch.manual_seed(0)
    return build_ddpm(TINY_PIXEL)


@pytest.fixture
def pipeline(pipeline, in_pixels, request):
    """That of the method, where a test is of one."""
    params = getattr(request.node, "callspec", None)
    return in_pixels if params and params.params.get("method") in IN_PIXELS else pipeline


@pytest.mark.parametrize("method", PURIFIERS)
def test_every_image_is_purified_on_its_own(pipeline, images, method):
    together = purify(pipeline, images, PROMPTS, SEEDS, method)
    assert together.shape == images.shape and together.dtype == torch.float32
    assert together.min() >= 0 and together.max() <= 1
    assert (together != images).flatten(1).any(dim=1).all()
    assert torch.equal(together, purify(pipeline, images, PROMPTS, SEEDS, method))
    alone = purify(pipeline, images, PROMPTS, SEEDS, method, batch_size=1)
    assert torch.allclose(together, alone, atol=1e-4)  # all of CAT's images are one batch
    assert not together.requires_grad


@pytest.mark.parametrize("method", PURIFIERS)
def test_a_size_that_the_model_cannot_halve_is_kept(pipeline, images, method):
    odd = images[:, :, :29, :31]
    assert purify(pipeline, odd, PROMPTS, SEEDS, method).shape == odd.shape


def test_strength_is_the_share_of_the_schedule(pipeline, images, monkeypatch):
    seen = []
    real = latent_diffusion.predict
    monkeypatch.setattr(
        latent_diffusion,
        "predict",
        lambda unet, z, times, text: seen.append(int(times[0])) or real(unet, z, times, text),
    )
    diffpure(pipeline, images, PROMPTS, SEEDS, strength=0.3, steps=6)
    assert seen == [299, 249, 199, 149, 99, 49]


@pytest.mark.parametrize("method", ["blur", "total_variation", "adverse_cleaner"])
def test_filters_smooth(pipeline, images, method):
    smooth = purify(pipeline, images, PROMPTS, SEEDS, method)
    less, more = (total_variation(x).sum(dim=1) for x in (smooth, images))
    assert (less < 0.95 * more).all()
    # They keep what the picture shows: it stays nearer than its mean colour.
    flat = images.mean(dim=(2, 3), keepdim=True)
    assert (smooth - images).square().mean() < 0.2 * (flat - images).square().mean()


def neighbours(side):
    """One row per pair of neighbouring pixels, with −1 and 1 at their places."""
    step = sparse.diags_array([-1.0, 1.0], offsets=[0, 1], shape=(side - 1, side))
    one = sparse.eye_array(side)
    return sparse.vstack([sparse.kron(one, step), sparse.kron(step, one)])


def test_total_variation_is_at_its_minimum(pipeline, images):
    """Against a general solver with bounds, whose p gives a bound that no image can be below."""
    weight, side = 0.05, 24
    noisy, pairs = images[..., :side, :side], neighbours(side)
    divergence = weight * pairs.T.tocsr()
    smooth = purify(pipeline, noisy, PROMPTS, SEEDS, "total_variation")
    for found, given in zip(smooth[0].double(), noisy[0].double(), strict=True):
        y, x = given.flatten().numpy(), found.flatten().numpy()
        reached = 0.5 * ((x - y) ** 2).sum() + weight * np.abs(pairs @ x).sum()

        def dual(p, y=y):
            rest = divergence @ p - y
            return 0.5 * rest @ rest, divergence.T @ rest

        box = [(-1, 1)] * pairs.shape[0]
        options = {"ftol": 1e-15, "gtol": 1e-9}
        best = minimize(dual, np.zeros(len(box)), jac=True, bounds=box, options=options)
        bound = 0.5 * (y**2).sum() - best.fun
        assert bound <= reached < 1.001 * bound
        assert np.abs(x - (y - divergence @ best.x)).max() < 0.01


def test_jpeg_is_a_file_of_quality_75(pipeline, images):
    pixels = (images[0] * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=75)
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
    assert torch.equal(purify(pipeline, images, PROMPTS, SEEDS, "jpeg")[0], expected)


def test_cat_teaches_a_copy_of_the_encoder(pipeline, images):
    weights = {name: value.clone() for name, value in pipeline.vae.state_dict().items()}
    taught = purify(pipeline, images, PROMPTS, SEEDS, "cat")
    untaught = round_trip(pipeline, images)
    assert (taught - images).square().mean() < (untaught - images).square().mean()
    state = pipeline.vae.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[name], value) for name, value in weights.items())


def test_impress_makes_images_that_the_autoencoder_reproduces(pipeline, images):
    def lost(x):
        with torch.no_grad():
            return (decode_latents(pipeline, encode_images(pipeline, x)) - x).square().mean()

    assert lost(purify(pipeline, images, PROMPTS, SEEDS, "impress")) < lost(images)


def test_diffpure_goes_from_a_round_trip_to_another_picture(embedded):
    """With the trained model: the stronger, the more the noise decides."""
    clean = sample_domain("portraits", "train", range(2)).images
    restored = round_trip(embedded, clean)
    change = [
        (diffpure(embedded, clean, PROMPTS[:2], SEEDS[:2], strength, 4) - restored).abs().mean()
        for strength in (0.005, 0.2, 0.8)
    ]
    assert change[0] < 0.01 < change[1] < change[2]


def test_pictures_are_scaled_to_the_model_and_back_and_keep_their_shape(in_pixels, monkeypatch):
    seen = []

    def same(pipeline, images, seeds, settings):
        seen.append(images.shape[2:])
        return images

    monkeypatch.setattr(methods, "purify_pixels", same)
    flat = torch.linspace(0, 1, 3).view(1, 3, 1, 1)
    for size, fitting in (((8, 8), (8, 8)), ((32, 64), (8, 16)), ((6, 4), (12, 8))):
        images = flat.expand(2, 3, *size)
        found = purify(in_pixels, images, PROMPTS[:2], SEEDS[:2], "pixel_gdmp")
        assert seen.pop() == fitting
        torch.testing.assert_close(found, images)


def test_a_picture_of_the_models_size_is_purified_as_in_front_of_a_classifier(in_pixels, images):
    small, settings = images[..., :8, :8], PixelPurifier(method="diffpure_ode", steps=2)
    found = purify(in_pixels, small, PROMPTS, SEEDS, "pixel_diffpure_ode")
    with torch.no_grad():
        expected = purify_pixels(in_pixels, small, SEEDS, settings)
    torch.testing.assert_close(found, expected)


def test_a_model_of_another_kind_is_named(pipeline, in_pixels, images):
    asked = images, PROMPTS, SEEDS
    with pytest.raises(ValueError, match="pixel_gdmp: works with an unconditional model in pixel"):
        purify(pipeline, *asked, "pixel_gdmp")
    with pytest.raises(ValueError, match="cat: works with a latent model, not with a DDPM"):
        purify(in_pixels, *asked, "cat")
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    grey = UNet2DModel(8, 1, 1, **blocks, block_out_channels=(8,), norm_num_groups=1)
    with pytest.raises(ValueError, match="the model has 1 channels; expected 3"):
        purify(DDPMPipeline(grey, in_pixels.scheduler), *asked, "pixel_gdmp")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "soap"}, "unknown method 'soap'.*jpeg"),
        ({"seeds": [1]}, "seeds: expected one per image"),
        ({"prompts": ["a"]}, "captions"),
        ({"images": torch.full((3, 3, 32, 32), 2.0)}, "values in"),
    ],
)
def test_wrong_input_is_named(pipeline, images, change, message):
    call = {"images": images, "prompts": PROMPTS, "seeds": SEEDS, "method": "blur", **change}
    with pytest.raises(ValueError, match=message):
        purify(pipeline, **call)


def test_gaussian_noise_is_as_strong_as_it_says(pipeline):
    """Half way between black and white nothing is cut."""
    grey = torch.full((3, 3, SIZE, SIZE), 0.5)
    found = purify(pipeline, grey, PROMPTS, SEEDS, "gaussian_noise")
    change = found - grey
    assert change.std().item() == pytest.approx(0.05, rel=0.03)
    assert abs(change.mean().item()) < 0.003
    again = purify(pipeline, grey[1:2], PROMPTS[1:2], SEEDS[1:2], "gaussian_noise")
    assert torch.equal(again[0], found[1]), "an image's noise is that of its seed"


def test_a_round_trip_is_what_the_autoencoder_keeps(pipeline, images):
    expected = decode_latents(pipeline, encode_images(pipeline, images)).clamp(0, 1)
    found = purify(pipeline, images, PROMPTS, SEEDS, "round_trip")
    torch.testing.assert_close(found, expected.detach())
