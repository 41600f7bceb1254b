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
# # Does the attack carry over?
#
# Whoever attacks a picture does not know which prompt it will be edited with, nor by which model.
# [Zhang et al., 2023](https://arxiv.org/abs/2306.08257) find that attacks carry over in part.

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
from lord.show import transfer

records = study.run(profile, "component_transfer", compute=compute)
show.run_card(records)

# %% [markdown]
# ## To another prompt
#
# The attack on all residual blocks is made while editing with one prompt, and judged by edits with
# another. Prompts are the caption of the picture, that of another, the class alone ("a portrait"),
# or nothing.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-prompt-transfer"}, "image": {"alt": "A matrix of four prompts by four prompts, with the share of the attack that is left in each cell."}}
transfer.transfer_matrix(records, "prompt")

# %% [markdown]
# > What is left of the attack, with intervals of 95 %. It is a share of the lead over noise that an
# > attack with the victim's own prompt has.

# %% [markdown]
# ## To another model
#
# Does it carry over to a model of another kind? The model in pixels has no encoder, another
# denoiser and other training, and sees smaller pictures. All that both share is what they draw.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-model-transfer"}, "image": {"alt": "A matrix of attacked models by models that edit, with the share of the attack that is left in each cell."}}
transfer.transfer_matrix(records, "model")

# %% [markdown]
# > The same for models: `base` is the embedded latent model, `pixel` the one in pixels. Empty where the victim's own attack
# > is not surely ahead of noise.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
transfer.transfer_findings(records)
