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
# # What helps?
#
# [Zhang et al., 2023](https://arxiv.org/abs/2306.08257) try what is at hand against attacks on parts: other prompts, more models, a filter before the edit.
# Here they stand beside [DiffPure](30_purification.ipynb) and beside [LoRD](08_lord_stage1.ipynb), which was made for
# fine-tuning and not for this.

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
from lord.show import component_defences

records = study.run(profile, "component_defences", compute=compute)
show.run_card(records)

# %% [markdown]
# A defence that changes every picture changes edits of clean ones too. So three edits behind each
# defence are compared with the undefended edit of the clean picture. They are of the attacked
# picture, of one with noise of the same energy, and of the clean one. The last is about the most
# that the first could reach.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-component-defences"}, "image": {"alt": "For each defence three dots: edits of attacked pictures, of noisy ones, and of clean ones, further right where they are nearer to the undefended edits of clean pictures."}}
component_defences.defences(records)

# %% [markdown]
# > How near edits behind each defence are to undefended edits of clean pictures, with intervals of 95 %.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-defended-edits"}, "image": {"alt": "Rows of small edited pictures: of clean and attacked pictures, and of attacked ones behind the best defence."}}
component_defences.defended_edits(records)

# %% [markdown]
# > Edits of clean pictures, of attacked ones, and of attacked ones behind the defence that brings them nearest.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
component_defences.defence_findings(records)
