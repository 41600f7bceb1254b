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
# # When does it break?
#
# An edit starts from the noised picture and takes the noise away in steps. Early steps settle what is where, late ones
# the details. An attack may aim at the features of some of these steps alone. Which are worth it? And does it matter which
# sampler takes them?

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
from lord.show import component_times

records = study.run(profile, "component_times", compute=compute)
show.run_card(records)

# %% [markdown]
# The attack is that on [parts of the model](40_components.ipynb), on all residual blocks of the denoiser at once. Its sum
# now has the calls $k$ of some steps only:
#
# $$
# \max_{\lVert x'-x\rVert_\infty\le\varepsilon}\ \sum_{k\in\text{steps}} \operatorname{mean}\,\lVert f_k(x')-f_k(x)\rVert^2 .
# $$

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-component-times"}, "image": {"alt": "Dots with bars, blue for attacks on a part of the steps and red for attacks on all of them under three samplers, and a dotted line at no lead."}}
component_times.times(records)

# %% [markdown]
# > How many dB of PSNR edits lose to the attack beyond noise of the same energy, with intervals of 95 %. Blue: features of
# > some steps are attacked, under DDIM. Red: of all steps, attacked and edited with each sampler.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
component_times.time_findings(records)
