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
# # What does what?
#
# Which part of LoRD repairs the LoRA? It is an adapter that has learned from attacked pictures,
# with a second branch and a gate ([stage 1](08_lord_stage1.ipynb)). Its loss holds it to the base
# model on clean pictures, with $L_\text{clean} = \lVert \epsilon_\theta(z_t) - \epsilon_\text{base}(z_t) \rVert^2$.
# The other terms are the denoising loss on attacked pictures and the cross-entropy of the gate:
#
# $$ \tfrac12 (L_\text{clean} + L_\text{attacked}) + w\, L_\text{gate}. $$
#
# Each variant goes without something:
#
# - **open**: without the gate's opinion: $\lambda = 1$ while stage 2 learns;
# - **one branch**: without second branch and gate: a plain LoRA of the same rank learns the same in stage 1;
# - **noise target**: without the base model's example: on clean pictures the target is the noise, as in the paper.
#
# In all of them the adapter is dropped before sampling. Under the attacks mixed wide LoRD goes
# without gate and second branch as well. Then it is a plain LoRA of its width that has learned from
# the same pictures.

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

records = study.run(profile, "parts", compute=compute)
learned_from = study.run(profile, "stage1_data", compute=compute)
compared = study.run(profile, "main", compute=compute)
compared += study.run(profile, "scale", compute=compute)
show.run_card([*records, *learned_from])

# %% tags=["hide-cell"]
show.source("lord.defences.stage1.train_defence")

# %% [markdown]
# ## Without one part
#
# Stage 1 has seen ACE and not AdvDM. What does every variant leave of the damage of each? And what
# does it do to a LoRA on clean photographs?

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-parts"}, "image": {"alt": "Panels for each metric and domain, with a row for every attack and variant."}}
show.ablation_figure(records, compared)

# %% [markdown]
# > LoRD and mixed wide LoRD as elsewhere (unchanged) and without some of their parts. Dots are
# > means over the subjects, bars go from the lowest to the highest. Ticks: LoRAs without a defence,
# > on clean and on attacked photographs.

# %% [markdown]
# In the published study every variant closes more than three quarters of the FID gap of both attacks. Under ACE a plain
# LoRA instead of LoRD or mixed wide LoRD has the better mean FID in both domains. With an open branch in place of the
# gate, LoRAs on clean photographs have the worse FID in every cell.
#
# All variants share an adapter that was trained on attacked pictures. It is in place while stage 2
# learns, and gone before sampling.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-parts-table"}}
show.ablation_table(records, compared)

# %% [markdown]
# > LoRD and mixed wide LoRD without some of their parts, and the share of the damage repaired. In
# > brackets: the lowest and the highest subject. Highlighted: the best variant against each attack.

# %% [markdown]
# ## Does it have to be an attack?
#
# Would any adapter do, if it is in place while stage 2 learns? So stage 1 of LoRD learns once more,
# from uniform noise within the same $\epsilon$ in place of ACE (noise). Three more variants ask how
# good the attack has to be. One takes AdvDM in place of ACE (advdm). One has ACE in two large steps
# in place of ten (two steps). One has an eighth of the pictures (few).

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the figure", "code_prompt_hide": "Hide the figure", "figure": {"name": "fig-stage1-data"}, "image": {"alt": "Panels for each metric and domain, with a row for every attack and variant."}}
show.ablation_figure(learned_from, compared)

# %% [markdown]
# > LoRD as elsewhere (unchanged) and with a stage 1 that has learned from something else, dropped
# > before sampling. Dots are means over the subjects, bars go from the lowest to the highest.
# > Ticks: LoRAs without a defence, on clean and on attacked photographs.

# %% [markdown]
# In the published study noise repairs less than a fifth of the FID gap. It is behind LoRD in every cell. A stage 1 that
# knows ACE alone closes over four fifths of AdvDM's FID gap, and the other way round. Each is ahead of the other
# against its own attack, by FID in every cell. An eighth of the pictures still closes more than two thirds of the FID
# gap.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-stage1-data-table"}}
show.ablation_table(learned_from, compared)

# %% [markdown]
# > What stage 1 learns from, and the share of the damage repaired. In brackets: the lowest and the
# > highest subject. Highlighted: the best against each attack.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.answer([*records, *compared], "Is it the second branch that repairs?")
