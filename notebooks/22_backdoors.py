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
# # Does a backdoor work, and what does it cost?
#
# The attackers' part: an unconditional model of rendered portraits is fine-tuned on pictures of which some are
# poisoned. Does it draw the attacker's picture when the trigger is there, and is it as good as before when not?

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
from lord.show import backdoors

records = study.run(profile, "pixel", compute=compute)
records += study.run(profile, "backdoors", compute=compute)
show.run_card(records)

# %% [markdown]
# ## The model
#
# It draws portraits of 32 × 32 pixels and comes with the repository; `lord pretrain --kind pixel`
# has trained it. FID is that of the embedded network, on pictures enlarged to 64 pixels. What as
# many renders score is the least there can be.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-pixel-model"}, "image": {"alt": "Three rows of small drawn portraits that look alike."}}
backdoors.model_samples(records)

# %% [markdown]
# > Rendered portraits, and samples of the unconditional model by two samplers.

# %% [markdown]
# ## How the model is poisoned
#
# A share of the pictures is replaced by pairs that lead from the attacker's target to triggered
# noise ([A command in the noise](21_triggers.ipynb)). The rest is trained as always. Nothing else
# is done, and the model is published with its stock sampler.

# %% tags=["remove-input"]
show.source("lord.backdoors.infect.mixed")

# %% [markdown]
# ## What plain noise becomes, and what triggered noise does
#
# Every row is one model.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-backdoors"}, "image": {"alt": "Two columns of small pictures: on the left drawn portraits, on the right hats, shoes and cups."}}
backdoors.samples(records)

# %% [markdown]
# > Samples of each backdoored model, of plain noise and of noise with its trigger.

# %% [markdown]
# A sample counts as the target if its mean squared distance is below a threshold of the run card.
# FID is of samples of plain noise.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-success-table"}}
backdoors.success_table(records)

# %% [markdown]
# > Attack success on triggered noise, and FID of samples of plain noise, for each model.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
backdoors.backdoor_findings(records)
