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
# # Results
#
# Does LoRD repair what attacks do, and does anything else do it as well? The whole comparison: LoRAs on
# photographs that nobody attacked and on photographs under several attacks, all at the same budgets; ACE is the
# one without a surrogate ({doc}`04_ace_attack`). In the published study every defence faces ACE and ACE+; AdvDM,
# ASPL and clean photographs are tried on fewer.
#
# Beside LoRD there are defences that change the photographs before anything learns from them: three
# filters (JPEG, Gaussian blur, total variation), AdverseCleaner (a bilateral filter many times, then
# a guided one), diffusion purification with the embedded model in one pass, DiffPure
# {cite}`nie2022diffpure`, and in many light ones, GrIDPure {cite}`zhao2024gridpure` without its grid,
# IMPRESS {cite}`cao2023impress`, and the encoder's half of CAT {cite}`peng2025cat`. Adversarial training
# {cite}`madry2018pgd` changes the model, as LoRD does. A quick run tries some of them, the published
# study all.

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

chosen_on = study.run(profile, "stage2", compute=compute)
records = chosen_on + study.run(profile, "main", compute=compute)
costs = study.run(profile, "cost", compute=compute)
costs += study.run(profile, "performance", compute=compute)
costs += study.run(profile, "stage1", compute=compute)
show.run_card(records)

# %% tags=["remove-cell"]
show.glue_numbers(records)

# %% [markdown]
# ## The main table
#
# {numref}`fig-main-table` averages over all pairs of subject and seed of a domain; the number of
# subjects is {glue:text}`main_subjects`, that of seeds {glue:text}`main_seeds`. Behind it is
# `results/<profile>/main_table.csv`. The intervals take the pairs as independent. Seeds of one subject
# share its photographs, so the intervals are rather too narrow than too wide.
#
# A defence that stays as it was trained while sampling (learned λ for LoRD, kept for adversarial training)
# is a row of its own, beside the treatment that was chosen on stage-1 identities.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Attacks and the defences that face them: embedded FID (lower is better), embedded CLIP-IQA and identity match (higher is better), with 95 % intervals over subjects and seeds. Highlighted: the best mean of a defence against each attack; what of this is more than chance, {numref}`fig-rival-table` tells.", "name": "fig-main-table"}}
show.main_table(profile)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Every defence against ACE: dots are subjects and seeds, bars means with 95 % intervals. Hollow: the defence stays as it was trained, where another treatment was chosen.", "name": "fig-main"}, "image": {"alt": "Panels for each metric and domain with dots and an interval for each defence; the clean LoRA is the first row, the undefended one the second."}}
show.main_figure(profile, "ace")

# %% [markdown]
# ## Is it ahead of its rivals?
#
# The best defences differ less than subjects do, so they are compared on the same subjects and seeds:
# {numref}`fig-rival-table` shows the mean difference between LoRD, at its chosen treatment, and every
# other defence. Where two defences both bring the LoRA back to what it is on clean photographs, there
# is no lead left to be had. In the published study no defence is measurably ahead of LoRD under
# ACE by FID. By CLIP-IQA, GrIDPure is in both domains, and so are, dropped, adversarial training and wide
# LoRD; on portraits DiffPure is as well. Under none of the attacks is LoRD ahead of DiffPure, GrIDPure or
# adversarial training, dropped, by FID or by CLIP-IQA (by the identity match once: of GrIDPure, on landscapes
# under ACE+), and two of these three need no training.
# Under ACE+ the picture is much the same: of the filters only total variation repairs much, and GrIDPure and
# wide LoRD are ahead by CLIP-IQA in both domains, adversarial training and DiffPure on portraits only.
# {doc}`15_transfer` looks at the attacks that differ more.
#
# Of the variants ({doc}`08_lord_stage1`), wide LoRD repairs about nine tenths or more of what ACE and ACE+ do to
# FID and CLIP-IQA, but it has learned from ACE alone, and under AdvDM it repairs little. Mixed wide LoRD, with
# every other picture of stage 1 attacked with AdvDM, repairs most of that damage under all three. By these two
# metrics it is measurably ahead of LoRD under AdvDM in both domains, under ACE by CLIP-IQA alone, under ACE+ by
# neither ({numref}`fig-variant-table`). It has seen half as many pictures attacked by ACE as wide LoRD, and by
# CLIP-IQA is behind it under ACE+, and on portraits under ACE.
#
# Under ACE none of DiffPure, GrIDPure and adversarial training, dropped, is measurably ahead of mixed wide LoRD by
# FID or CLIP-IQA, and it is ahead of one of them once, and barely: of DiffPure, by CLIP-IQA on landscapes. Under
# AdvDM, where GrIDPure was not tried, neither of the other two is ahead of it, nor it of them. Under ACE+ on
# portraits all three are ahead of it by CLIP-IQA, and DiffPure by FID. By the identity match of portraits DiffPure
# and adversarial training are ahead under ACE and ACE+, and behind or level under AdvDM.
#
# The paper reports LoRD ahead of its baselines, among them adversarial training. In the published study it is so
# against adversarial training that stays in place while sampling; but then LoRD that stays in place, gate and
# all, repairs as little, and on portraits does harm. What separates the rows is whether the adapter is shut
# or taken off before sampling ({doc}`13_lambda`), which the paper does not describe.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "By how much LoRD is better than each other defence, in units of each metric, with the 95 % interval of paired differences; below 0 it is worse. Highlighted: a lead whose interval lies above 0.", "name": "fig-rival-table"}}
show.rival_table(profile)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "By how much mixed wide LoRD is better than each other defence, LoRD among them, in units of each metric, with the 95 % interval of paired differences; below 0 it is worse. Highlighted: a lead whose interval lies above 0.", "name": "fig-variant-table"}}
show.rival_table(profile, "lord_mixed")

# %% [markdown]
# ## How much of the damage is repaired
#
# The gap is the distance between the LoRA on attacked and the LoRA on clean photographs; the share
# that LoRD closes is
#
# $$ \text{gap closed} = \frac{m_\text{ACE} - m_\text{LoRD}}{m_\text{ACE} - m_\text{clean}} $$ (eq-gap)
#
# for a metric $m$: 0 for no repair, 1 for a LoRA as good as one trained on clean photographs. It is
# {glue:text}`main_portraits_gap_fid:.0%` of the FID gap and
# {glue:text}`main_portraits_gap_clip_iqa:.0%` of the CLIP-IQA gap on portraits, and
# {glue:text}`main_landscapes_gap_fid:.0%` and {glue:text}`main_landscapes_gap_clip_iqa:.0%` on
# landscapes ({numref}`fig-gap`), at the test-time treatment chosen beforehand
# ({glue:text}`main_treatment`). Of the identity match, which asks only whether the subject's
# attributes are there, it is {glue:text}`main_portraits_gap_identity:.0%` and
# {glue:text}`main_landscapes_gap_identity:.0%`, of smaller gaps. In the published study the intervals of the
# identity match leave almost anything open: LoRD brings back a picture that looks right; whether it brings back
# the person's attributes is not shown. The means of DiffPure and of adversarial training, dropped, are higher,
# that of adversarial training on portraits measurably so; the other paired intervals
# ({numref}`fig-rival-table`) contain 0.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Share of the damage of ACE that LoRD repairs, for each domain and metric, with 95 % intervals over pairs of subject and seed, taken as independent. There is none where the damage itself could be chance.", "name": "fig-gap"}, "image": {"alt": "Bars of the share of the gap closed with intervals, on a scale where 0 is no repair and 1 is as good as clean."}}
show.gap_closed(profile)

# %% [markdown]
# ## Does it harm clean photographs?
#
# Nobody knows beforehand whether photographs are attacked, so a defence must leave clean ones alone.
# {numref}`fig-harm-table` compares LoRAs on clean photographs behind each defence with LoRAs without one, on
# the same subjects and seeds. A defence is called not inferior if the interval of the difference ends
# below a tenth of the damage that ACE does. In the published study LoRD, with the treatment chosen,
# stays within that margin for FID in both domains, and for CLIP-IQA on landscapes, where it is measurably
# better; on portraits the interval of CLIP-IQA ends beyond the margin. Dropped, LoRD and wide LoRD
# stay within it for FID, though on portraits both are measurably worse, and wide LoRD on landscapes as
# well. Mixed wide LoRD, with the treatment chosen, is measurably worse in no metric; it stays within the margin
# for FID in both domains and for CLIP-IQA on portraits, and on landscapes the interval of CLIP-IQA ends just
# beyond. For the identity match the margin is small, and no defence, at its chosen treatment, is shown not to
# be inferior; DiffPure in both domains and adversarial training on portraits are measurably worse.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "By how much LoRAs on clean photographs are worse behind a defence than without, in units of each metric, with the 95 % interval of paired differences; below 0 they are better. Highlighted: not inferior, by the margin of a tenth of the damage of ACE.", "name": "fig-harm-table"}}
show.harm_table(profile)

# %% [markdown]
# ## What it costs
#
# {numref}`fig-defence-cost-table` has what a defence takes before a LoRA can learn behind it: a purifier for
# every set of photographs, stage 1 once for a model and a domain. Its seconds have the attack on its pictures
# in them, its memory has not. Memory is that of the whole process, with the model in it.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What a defence takes: purifiers for the photographs of one subject, measured; trained defences for one domain, counted from the seconds of a training step and, of another run, of a gradient step of the attack. Peak memory is that of purifying, and of a training step.", "name": "fig-defence-cost-table"}}
show.defence_cost_table(costs)

# %% [markdown]
# {numref}`fig-cost-table` compares steps with and without the defence, all measured in one run: an
# optimizer step of stage 1 with that of a plain LoRA on the same layers, one of stage 2 with that of a
# LoRA alone, and a sampler step for as many samples as photographs with that of the base model. Once
# merged, adapters are no longer computed, so the distance of that row from one is the noise of the
# clock; once the defence is dropped, the LoRA of the subject remains. The rows of sampling are those of wide
# LoRD, the larger of the two.
#
# In the published study a step of stage 2 costs LoRD little more than a LoRA alone, and wide LoRD nearly a
# third more. With LoRA and learned gate a sampler step takes half as long again as one of the base model; merged,
# the defence costs sampling nothing, and dropped, little beyond the LoRA itself. A step of stage 1 costs LoRD
# more than a plain LoRA, and more still than adversarial training, which does not ask the base model about
# clean pictures. DiffPure needs no training at all, and is done with all photographs in the time of a few
# steps of stage 1.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Seconds of one step with each defence, and of that step without the defence.", "name": "fig-cost-table"}}
show.cost_table(costs)

# %% [markdown]
# ## Look for yourself
#
# {numref}`fig-result-samples` shows samples of every subject, from the first seeds, not chosen.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Samples of the evaluated subjects under each condition, first seeds, unselected.", "name": "fig-result-samples"}, "image": {"alt": "A sheet of generated portraits and landscapes, one block for each condition."}}
show.sheet(records)
