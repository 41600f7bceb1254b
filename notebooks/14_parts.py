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
# LoRD is several things at once: an adapter that has learned from attacked pictures, with a second branch
# and a gate {eq}`eq-lord`, and with a loss that holds it to the base model on clean pictures,
#
# $$ \tfrac12 (L_\text{clean} + L_\text{attacked}) + w\, L_\text{gate}, $$ (eq-stage1)
#
# where $L_\text{clean} = \lVert \epsilon_\theta(z_t) - \epsilon_\text{base}(z_t) \rVert^2$, $L_\text{attacked}$ is the
# denoising loss {eq}`eq-denoising` and $L_\text{gate}$ the cross-entropy between $\lambda$ and whether the
# picture is attacked. Which of these things repairs the LoRA? Each variant goes without something:
#
# open
# : without the gate's opinion: $\lambda = 1$ while stage 2 learns;
#
# one branch
# : without second branch and gate: a plain LoRA of the same rank learns the same in stage 1;
#
# noise target
# : without the base model's example: on clean pictures the target is the noise, as in the paper.
#
# In all of them the adapter is dropped before sampling; {doc}`13_lambda` keeps it. Under the attacks mixed wide
# LoRD ({doc}`08_lord_stage1`) goes without gate and second branch as well; then it is a plain LoRA of its width
# that has learned from the same pictures.

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

records = study.run(profile, "parts", compute=compute)
learned_from = study.run(profile, "stage1_data", compute=compute)
compared = study.run(profile, "main", compute=compute)
compared += study.run(profile, "scale", compute=compute)
show.run_card([*records, *learned_from])

# %% tags=["hide-cell"]
show.source("lord.defences.stage1.train_defence")

# %% [markdown]
# ## What was found
#
# {numref}`fig-parts` shows what every variant leaves of the damage of ACE ({doc}`04_ace_attack`), which
# stage 1 has seen, and of AdvDM ({doc}`05_attacks`), which it has not, and what it does to a LoRA on clean
# photographs. What is repaired of a gap is counted as in {eq}`eq-gap`.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "LoRD and mixed wide LoRD as elsewhere (unchanged) and without some of their parts: embedded FID (lower is better) and CLIP-IQA (higher is better), means over the subjects and bars from the lowest to the highest. Ticks: LoRAs without a defence, on clean and on attacked photographs.", "name": "fig-parts"}, "image": {"alt": "Panels for each metric and domain, with a row for every attack and variant."}}
show.ablation_figure(records, compared)

# %% tags=["hide-input"]
show.ablation_findings(records, compared)

# %% [markdown]
# In the published study every variant closes most of the FID gap of both attacks, so none of these parts alone
# is what repairs. What they share is an adapter that was trained on attacked pictures, in place while stage 2
# learns, and gone before sampling. Without second branch and gate, a plain LoRA does under ACE at least as well
# as LoRD: it has the better mean FID in both domains, and the better CLIP-IQA in every cell. Under AdvDM
# neither is ahead in both metrics and domains. So the second branch, the idea of the paper, is not needed for
# the repair.
#
# Nor is it what mixed wide LoRD gains over LoRD. A plain LoRA of its rank and on its layers, that has learned from
# its pictures, has the better mean FID under both attacks in both domains, and a CLIP-IQA that is a little higher
# once and a little lower three times; in no domain, attack and metric is one ahead in every cell. This is
# adversarial training with the width and the pictures of mixed wide LoRD and with its target on clean pictures, so
# what was gained is theirs.
#
# What the gate of LoRD is good for are clean photographs: with an open branch in its place, LoRAs on them have
# the worse FID in every cell of both domains, and on portraits under both attacks as well. On clean
# landscapes every variant is worse than LoRD as a whole, by FID in every cell; on clean portraits the plain
# LoRA and the noise target are not.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "LoRD and mixed wide LoRD without some of their parts, with the lowest and the highest subject in brackets and the share of the damage that is repaired. Highlighted: the best variant against each attack.", "name": "fig-parts-table"}}
show.ablation_table(records, compared)

# %% [markdown]
# ## Does it have to be an attack?
#
# What the variants above share could also be that any adapter is in place while stage 2 learns, and
# gone before sampling. So stage 1 of LoRD ({doc}`08_lord_stage1`) learns once more, from pictures with uniform
# noise within the same $\epsilon$ in place of ACE (noise). Three more variants ask how good the attack has to
# be: AdvDM in place of ACE (advdm), ACE in two large steps, as in adversarial training, in place of ten (two
# steps), and an eighth of the pictures (few).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "LoRD as elsewhere (unchanged) and with a stage 1 that has learned from something else, dropped before sampling: embedded FID (lower is better) and CLIP-IQA (higher is better), means over the subjects and bars from the lowest to the highest. Ticks: LoRAs without a defence, on clean and on attacked photographs.", "name": "fig-stage1-data"}, "image": {"alt": "Panels for each metric and domain, with a row for every attack and variant."}}
show.ablation_figure(learned_from, compared)

# %% tags=["hide-input"]
show.ablation_findings(learned_from, compared)

# %% [markdown]
# In the published study noise repairs little or nothing, and is behind LoRD in every cell. So it takes an
# adapter that knows attacked pictures. Which attack matters less: a stage 1 that has seen ACE alone closes
# most of the FID gap of AdvDM, and the other way round; each is ahead of the other against its
# own, by FID in every cell. Two steps of ACE in place of ten do as well by FID: better in the mean on
# portraits, somewhat worse on landscapes. Even an eighth of the pictures repairs most of the damage to
# FID.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What stage 1 learns from, with the lowest and the highest subject in brackets and the share of the damage that is repaired. Highlighted: the best against each attack.", "name": "fig-stage1-data-table"}}
show.ablation_table(learned_from, compared)
