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
# Attacks on fine-tuning are usually studied on models of a billion weights. This study carries a
# small but complete latent diffusion model {cite}`rombach2022ldm` inside its package: an
# autoencoder, a text encoder, a tokenizer, a U-Net and a scheduler, in the folder layout of the
# diffusers library, which loads it like any other Stable Diffusion model.

# %% tags=["remove-cell"]
# On Colab the package is not there yet; everywhere else this cell does nothing.
from importlib.util import find_spec

from IPython import get_ipython

if find_spec("lord") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/lord-study/lord")

# %% tags=["parameters", "hide-input"]
profile = "quick"
compute = True

# %%
from lord import show, study
from lord.models.pipeline import load_pipeline

records = study.run(profile, "model", compute=compute)
show.run_card(records)

# %% tags=["remove-cell"]
show.glue_numbers(records)

# %% [markdown]
# ## How it learns
#
# The autoencoder maps an image $x$ to a latent $z = s\,\mathcal{E}(x)$, with a scale $s$. Noise is
# mixed into the latent,
#
# $$ z_t = \sqrt{\bar\alpha_t}\, z + \sqrt{1 - \bar\alpha_t}\, \epsilon, \qquad \epsilon \sim \mathcal{N}(0, I), $$ (eq-noising)
#
# and the U-Net $\epsilon_\theta$ learns to tell that noise from $z_t$, the time $t$ and the caption
# $c$:
#
# $$ \mathcal{L}(\theta) = \mathbb{E}_{z, c, t, \epsilon} \lVert \epsilon_\theta(z_t, t, c) - \epsilon \rVert^2. $$ (eq-denoising)
#
# In training, a term at noise level $t$ counts $1/\bar\alpha_t$ times, though never more than ten
# times. That makes it the error of v-prediction {cite}`salimans2022progressive` and lets the noisy
# levels count, where the caption decides what the picture will show.
#
# The whole pipeline has {glue:text}`model_parameters_millions:.1f` million weights and takes
# {glue:text}`model_megabytes:.1f` MB. Its model card, shipped beside it, states data, recipe, time,
# machine and checksums; `lord pretrain` trains it again.

# %%
pipeline = load_pipeline("embedded")

# %% [markdown]
# ## What the autoencoder keeps
#
# Everything that is generated is seen through the autoencoder, and no sample can be sharper than what
# comes out of it ({numref}`fig-round-trip`). On held-out renders it reconstructs at
# {glue:text}`model_psnr:.1f` dB. The FID of the results compares with references that have passed
# through it too, so that its error does not count there.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Held-out renders (upper row) and the same after encoding and decoding (lower row).", "name": "fig-round-trip"}, "image": {"alt": "A row of rendered pictures above a row of their nearly identical reconstructions."}}
show.round_trips(pipeline)

# %% [markdown]
# ## What the prompt controls
#
# {numref}`fig-prompted` shows pictures sampled from text. An attribute classifier that was trained on
# renders, not on samples, finds what the prompt asked for in
# {glue:text}`model_attribute_accuracy:.0%` of the cases, averaged over the attributes of
# {numref}`fig-attribute-accuracy`.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Samples of the embedded model, with their prompts.", "name": "fig-prompted"}, "image": {"alt": "A grid of generated portraits and landscapes, each above the prompt it was generated from."}}
show.prompted_samples(pipeline)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How often a prompted attribute is recognised in the sample, for every attribute of both domains; the tick marks guessing.", "name": "fig-attribute-accuracy"}, "image": {"alt": "Horizontal bars of recognition accuracy for each attribute of portraits and landscapes."}}
show.attribute_accuracy(records)
