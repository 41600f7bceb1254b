"""A world for trials, built once."""

import pytest


@pytest.fixture(scope="session")
def world(pretrained, tiny_training, tmp_path_factory):
    """A folder that `campaign.world` has filled."""
    from campaign.world import build

    folder = tmp_path_factory.mktemp("campaign") / "world"
    folder.mkdir()
    build(folder, pretrained, tiny_training)
    return folder
