# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The embedded model
#
# Attacks on fine-tuning are usually studied on models of a billion weights. Does one of a few
# million draw what its prompt asks for? This study carries a small but complete latent diffusion
# model ([Rombach et al., 2022](https://arxiv.org/abs/2112.10752)) inside its package. It has an
# autoencoder, a text encoder, a tokenizer, a U-Net and a scheduler. The library diffusers loads it
# like any other Stable Diffusion model.

# %% tags=["remove-cell"] jupyter={"source_hidden": true} cellView="form"
# @title Install the package on Colab; everywhere else this cell does nothing
from importlib.util import find_spec

from IPython import get_ipython

if find_spec("lord") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/lord-study/lord")

# %% tags=["parameters", "remove-cell"]
profile = "quick"
compute = True

# %% tags=["hide-input"]
from lord import show, study
from lord.models.pipeline import load_pipeline

records = study.run(profile, "model", compute=compute)
show.run_card(records)

# %% [markdown]
# ## How it learns
#
# The autoencoder maps an image $x$ to a latent $z = s\,\mathcal{E}(x)$, with a scale $s$. Noise is
# mixed into the latent,
#
# $$ z_t = \sqrt{\bar\alpha_t}\, z + \sqrt{1 - \bar\alpha_t}\, \epsilon, \qquad \epsilon \sim \mathcal{N}(0, I), $$
#
# and the U-Net $\epsilon_\theta$ learns to tell that noise from $z_t$, the time $t$ and the caption
# $c$:
#
# $$ \mathcal{L}(\theta) = \mathbb{E}_{z, c, t, \epsilon} \lVert \epsilon_\theta(z_t, t, c) - \epsilon \rVert^2. $$
#
# In training, a term at noise level $t$ counts $1/\bar\alpha_t$ times, though never more than ten
# times. That makes it the error of v-prediction ([Salimans and Ho,
# 2022](https://arxiv.org/abs/2202.00512)). So the noisy levels count, where the caption decides
# what the picture will show.
#
# Its model card, shipped beside it, states data, recipe, time, machine and checksums;
# `lord pretrain` trains it again.

# %% tags=["remove-input"]
show.text(
    records,
    "The whole pipeline has {model_parameters_millions:.1f} million weights and takes "
    "{model_megabytes:.1f} MB.",
)

# %% tags=["hide-input"]
pipeline = load_pipeline("embedded")

# %% [markdown]
# ## What the autoencoder keeps
#
# Everything that is generated is seen through the autoencoder. No sample can be sharper than what
# comes out of it. The FID of the results compares with references that have passed through it too.
# So its error does not count there.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-round-trip"}, "image": {"alt": "A row of rendered pictures above a row of their nearly identical reconstructions."}}
show.round_trips(pipeline)

# %% [markdown]
# > Held-out renders (upper row) and the same after encoding and decoding (lower row).

# %% tags=["remove-input"]
show.text(records, "On held-out renders it reconstructs at {model_psnr:.1f} dB.")

# %% [markdown]
# ## What the prompt controls
#
# These pictures were sampled from text. An attribute classifier that was trained on renders, not on
# samples, tells whether they show what the prompt asked for.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-prompted"}, "image": {"alt": "A grid of generated portraits and landscapes, each above the prompt it was generated from."}}
show.prompted_samples(pipeline)

# %% [markdown]
# > Samples of the embedded model, with their prompts.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-attribute-accuracy"}, "image": {"alt": "Horizontal bars of recognition accuracy for each attribute of portraits and landscapes."}}
show.attribute_accuracy(records)

# %% [markdown]
# > How often a prompted attribute is recognised in the sample, for every attribute of both domains. The tick marks
# > guessing.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.text(
    records,
    "What the prompt asks for is found in {model_attribute_accuracy:.0%} of the samples, averaged over "
    "all attributes.",
)
