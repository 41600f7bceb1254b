"""A world for trials, built once."""

import pytest


@pytest.fixture(scope="session")
def world(pretrained, tiny_training, tmp_path_factory):
    """A folder that `campaign.world` has filled."""
    import diffusers
    import transformers
    from campaign.world import build

    # As commands have it in a process of their own.
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    folder = tmp_path_factory.mktemp("campaign") / "world"
    folder.mkdir()
    build(folder, pretrained, tiny_training)
    return folder
