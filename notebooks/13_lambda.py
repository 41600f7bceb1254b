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
# # What should λ do?
#
# The gate is what the paper adds to an adversarially trained adapter: it decides for every input how far
# the defence branch opens. Any fixed $\lambda$ does without it, and becomes part of the weight,
#
# $$ W' = W + \tfrac{\alpha}{r} (B + \lambda B') A . $$ (eq-merge)
#
# Is the learned gate at least as good as the best fixed $\lambda$, while stage 2 learns and while the
# result is sampled? And should the tokens of one image share a $\lambda$, or the gate know the timestep?

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
from lord import adapter, show, study

records = study.run(profile, "lambda", compute=compute)
compared = study.run(profile, "main", compute=compute)
show.run_card(records)

# %% tags=["hide-input"]
show.source(adapter.set_gate)

# %% [markdown]
# ## Fixed or learned
#
# In stage 2 the gate decides how much of the perturbation the frozen branch takes off the LoRA; while
# sampling it decides how much of that comes back. {numref}`fig-gate-grid` takes every pair. The first row
# is the gate as learned, and {doc}`09_lord_stage2` has more of its treatments.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Embedded FID (lower is better) of LoRD on photographs attacked by ACE, for the λ of stage 2 (rows) and that of sampling (columns). Darker is worse, on a scale of its own for each domain.", "name": "fig-gate-grid"}, "image": {"alt": "For each domain a matrix of numbers, rows for λ in stage 2 and columns for λ while sampling."}}
show.gate_grid(records, compared)

# %% tags=["hide-input"]
show.ablation_findings(records, compared)

# %% [markdown]
# ## What shares one λ
#
# As published one $\lambda$ belongs to a whole image (unchanged). {numref}`fig-lambda-table` also has a gate
# for every token and one that reads the timestep beside the branch, so that it can learn to close where
# the noise hides the perturbation.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Kinds of gates, and fixed λ in stage 2, each with every treatment at test time. Unchanged: the gate as published. Highlighted: the best.", "name": "fig-lambda-table"}}
show.ablation_table(records, compared)
