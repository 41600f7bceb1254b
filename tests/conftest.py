"""Pipelines that tests share, built once per process, and a check that none is left changed.

What is heavy is imported where it is needed: the process that hands the tests out needs none of it.
"""

import pytest


@pytest.fixture(autouse=True)
def same_start():
    """Whatever ran before, a test draws the same numbers."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny():
    """Random weights that act in milliseconds; for fixtures that outlive a test."""
    from helpers import Shared, build_tiny

    return Shared(build_tiny())


@pytest.fixture
def pipeline(tiny):
    """The tiny pipeline of all tests, to be left as it was."""
    yield tiny.pipeline
    tiny.assert_unchanged()


@pytest.fixture
def own_pipeline(tiny):
    """The tiny pipeline with a U-Net that the test may change."""
    from helpers import copy_of

    yield copy_of(tiny.pipeline)
    tiny.assert_unchanged()


@pytest.fixture(scope="session")
def double():
    """The tiny pipeline in double precision; for `double_pipeline`."""
    import torch
    from helpers import Shared, build_tiny

    return Shared(build_tiny(torch.float64))


@pytest.fixture
def double_pipeline(double):
    """The tiny pipeline of all tests in double precision, to be left as it was."""
    yield double.pipeline
    double.assert_unchanged()


@pytest.fixture(scope="session")
def trained():
    """The embedded model; for fixtures that outlive a test."""
    from helpers import Shared

    from lord.models.pipeline import load_pipeline

    return Shared(load_pipeline("embedded", device="cpu"))


@pytest.fixture
def embedded(trained):
    """The embedded model of all tests, to be left as it was."""
    yield trained.pipeline
    trained.assert_unchanged()


# What commands have made, for commands.


@pytest.fixture(scope="session")
def tiny_training():
    """Settings of `lord pretrain` that take seconds."""
    from helpers import SIZE

    from lord.models.embedded import TINY

    steps = {"vae_steps": 2, "vae_batch": 4, "unet_steps": 2, "unet_batch": 4}
    few = {"steps": 2, "batch_size": 4, "warmup": 1, "image_size": SIZE, "precision": "no"}
    few |= {"images_per_domain": 4, "held_out_per_domain": 4}
    # Adapters cost time by the layer: a U-Net of one level has half as many.
    architecture = TINY.model_dump(mode="json") | {"unet_channels": [16]}
    return {
        "model": steps | {"architecture": architecture, "pool": 4, "mixed_precision": "no"},
        "features": few | {"width": 8},
        "clip": few | {"width": 32, "vision_layers": 1, "text_layers": 1},
    }


@pytest.fixture(scope="session")
def pretrained(tiny_training, tmp_path_factory, worker_id):
    """A folder that `lord pretrain` has filled: a model and the networks that measure it.

    The processes of one run share it, so a test that writes there works on a copy.
    """
    import yaml
    from filelock import FileLock
    from helpers import run

    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "pretrained"
    done = folder.with_suffix(".done")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            folder.mkdir()
            settings = folder / "settings.yaml"
            settings.write_text(yaml.safe_dump(tiny_training))
            run("pretrain", folder, "--settings", settings)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def pixel_model(tmp_path_factory):
    """The folder of an unconditional model of 8 x 8 pixels with random weights."""
    import torch

    from lord.models.pixel import TINY_PIXEL, build_ddpm

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pixel") / "tiny"
    build_ddpm(TINY_PIXEL).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(pretrained):
    """The options that make a command use the tiny model."""
    return ["--model", pretrained / "embedded", "--device", "cpu"]


@pytest.fixture(scope="session")
def album(tmp_path_factory):
    """Three photographs of one person, with captions."""
    from helpers import SIZE, run

    folder = tmp_path_factory.mktemp("images") / "album"
    run("render", folder, "--subject", 0, "--count", 3, "--size", SIZE)
    return folder


@pytest.fixture
def few_draws(monkeypatch):
    """The losses in the table of `lord attack` are of one draw, where nobody looks at them."""
    monkeypatch.setattr("lord.cli.folders.DRAWS", 1)


@pytest.fixture(scope="session")
def defence(model, tmp_path_factory):
    """A folder that `lord defend` has filled."""
    from helpers import run

    folder = tmp_path_factory.mktemp("defence")
    size = ["--identities", 3, "--attack-steps", 1, "--steps", 3, "--batch-size", 2, "--rank", 2]
    run("defend", folder, "--domain", "portraits", *size, *model)
    return folder
