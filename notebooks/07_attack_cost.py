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
# # What an attack costs
#
# Whoever protects a picture, or tests a defence, has two questions. How many gradient steps are
# worth it, and what does one of them cost?

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

records = study.run(profile, "main", defence="none", compute=compute)
records += study.run(profile, "scale", compute=compute)
records += study.run(profile, "steps", compute=compute)
speed = study.run(profile, "performance", compute=compute)
show.run_card(records + speed)

# %% [markdown]
# ## How many steps
#
# How much damage does ACE do after different numbers of gradient steps, at the budget of the main
# table? ACE as published shares its steps among rounds. Between them a surrogate, a copy of the
# model with its own LoRA, learns the pictures attacked so far. So the next round attacks a model
# that already learns from them. Both curves have the same number of gradient steps on the pictures.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-steps"}, "image": {"alt": "Curves of embedded FID and quality score over the number of gradient steps for both domains, with and without surrogate rounds, and a dotted line for the clean LoRA."}}
show.step_curves(records)

# %% [markdown]
# > Damage of ACE against its number of gradient steps. It attacks the base model all the time or,
# > in rounds, a surrogate that learns the attacked pictures. The first subject and seed of each
# > domain.

# %% [markdown]
# ## What one step costs
#
# A gradient step of an attack on denoising needs at least a pass through encoder and U-Net, forward
# and backward. The table calls that the floor. The public code of ACE+ does more. It takes images
# one by one and encodes the prompt of each anew in every step. To save memory it also encodes each
# image twice. The first time, without a gradient, is for the loss. The second takes the gradient
# from the latent on to the pixels. That naive loop was run beside the others.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-speed-table"}}
show.performance_table(speed)

# %% [markdown]
# > Gradient steps of every attack on 16 images, measured in one run: time per image, multiple of the floor.

# %% [markdown]
# In the published study two kinds take less than the floor. They are the encoder attack, which
# needs no U-Net, and the SDS attacks, which need no gradient of it. The diffusion attack, which
# goes through a sampler in every step, takes the most.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.step_findings(records)

# %% tags=["remove-input"]
show.performance_findings(speed)
