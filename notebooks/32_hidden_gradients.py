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
# # Are gradients only hidden?
#
# A purifier draws random numbers and takes many steps. Attacks may fail on it because their
# gradients lead nowhere, not because there is nothing to find. Many defences fell once somebody
# looked ([Athalye et al., 2018](https://arxiv.org/abs/1802.00420)). Such defences give signs.
# Attacks that see no gradient do as well as those that follow it. More purifications in a gradient
# and more steps do not help. And an attacker without a bound still fails.

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
from lord.show import purification_masking

records = study.run(profile, "purification_masking", compute=compute)
show.run_card(records)

# %% [markdown]
# So the same pictures meet noise, and the Square attack, which asks for logits alone. They also
# meet PGD through the whole purifier, with one and with several purifications in every gradient.
# PGD without a bound may change each pixel by half of its range.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-signs"}, "image": {"alt": "On the left dots with bars, far right without attack and with noise, further left after Square, and leftmost after PGD; on the right lines of the loss that rise in the steps of PGD."}}
purification_masking.signs(records)

# %% [markdown]
# > Left: share of fresh purifications that lead to the right class after each attack, with intervals of 95 %. Right: the
# > loss that PGD sees in its steps, with few and with many purifications in a gradient.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-signs-table"}}
purification_masking.signs_table(records)

# %% [markdown]
# > What is right after each attack, and the loss, as means over pictures and fresh purifications.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
purification_masking.sign_findings(records)
