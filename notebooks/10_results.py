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
#
# The comparison flatters the purifiers that use the model: DiffPure, GrIDPure, IMPRESS and CAT. The embedded
# model was trained on the very distribution of the test pictures, so it knows well what a clean one looks
# like. Nor are the metrics neutral: their networks have learned the textures that attacks leave
# ({doc}`03_metrics`).

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

chosen_on = study.run(profile, "selection", compute=compute)
records = chosen_on + study.run(profile, "main", compute=compute)
records += study.run(profile, "scale", compute=compute)
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
# `results/<profile>/main_table.csv`. The correlation $\rho$ of seeds of one subject, by which its intervals are
# wider {eq}`eq-effective`, is {glue:text}`main_correlation_fid:.2f` for FID and
# {glue:text}`main_correlation_clip_iqa:.2f` for CLIP-IQA (0 if there is one subject or one seed). Each defence was
# trained once for a domain; how another stage 1 would come out is in no interval.
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
# other defence. A difference is called measurable here if its interval does not contain 0; in so many
# intervals one or the other is so by chance. Where two defences both bring the LoRA back to what it is on clean
# photographs, there is no lead left to be had.
#
# In the published study no defence is measurably ahead of LoRD under ACE or ACE+ by FID, nor by CLIP-IQA on
# landscapes. By the CLIP-IQA of portraits GrIDPure and wide LoRD are under both, adversarial training, dropped, under
# ACE and DiffPure under ACE+. Under none of the attacks is LoRD measurably ahead of one of these three rivals, by any
# metric, and two of them need no training. GrIDPure has its price: of the identity match it brings back less, in
# the mean, than the other two. Of the filters only total variation repairs much. {doc}`15_transfer` looks at
# the attacks that differ more.
#
# Of the variants ({doc}`08_lord_stage1`), wide LoRD repairs about nine tenths or more of what ACE and ACE+ do to
# FID and CLIP-IQA (where that is more than all, the LoRA has the better CLIP-IQA than on clean photographs), but it
# has learned from ACE alone, and under AdvDM it repairs little. Mixed wide LoRD, with every other picture of
# stage 1 attacked with AdvDM, repairs most of that damage under all three. It is measurably ahead of LoRD under
# AdvDM, by CLIP-IQA in both domains and by FID on portraits, but not under ACE and ACE+ ({numref}`fig-variant-table`).
# It has seen half as many pictures attacked by ACE as wide LoRD, and under ACE+ is behind it by the CLIP-IQA
# of portraits.
#
# Between mixed wide LoRD and DiffPure, GrIDPure or adversarial training, dropped, nothing is measurable by FID or
# CLIP-IQA under any of the attacks that both face, but for DiffPure under ACE+, which is ahead by the FID of
# portraits. That is not to say that they are equal: with three subjects the intervals are wide. Nor did adversarial
# training have the width and the AdvDM pictures of mixed wide LoRD; a plain LoRA that has both does as well as that
# ({doc}`14_parts`).
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
# the person's attributes is not shown. The means of DiffPure and of adversarial training, dropped, are higher, but
# the paired intervals ({numref}`fig-rival-table`) contain 0.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Share of the damage of ACE that LoRD repairs, for each domain and metric, at its chosen test-time treatment, with 95 % intervals over subjects and seeds. There is none where the damage itself could be chance.", "name": "fig-gap"}, "image": {"alt": "Bars of the share of the gap closed with intervals, on a scale where 0 is no repair and 1 is as good as clean."}}
show.gap_closed(profile)

# %% [markdown]
# ## Against the goals
#
# A defence to rely on would close so much of the gaps of FID and CLIP-IQA under ACE and ACE+, in both domains, that
# the first page says “Yes”, be ahead of its rivals, do no harm, and close half of the gaps against an attacker who
# knows it. In the published study LoRD reaches the first goal by FID and falls short of it by CLIP-IQA; GrIDPure and wide LoRD
# reach it, mixed wide LoRD and adversarial training, dropped, under ACE. It is ahead of most filters but of none of
# its best rivals: with DiffPure and GrIDPure there is a way to clean photographs that leaves a defence of the
# training little to add, and what sets LoRD apart from adversarial training, the second branch and its gate, is not
# what repairs ({doc}`14_parts`). On clean photographs it is shown to do no harm by FID, by CLIP-IQA on landscapes
# only (below). What an attacker leaves who knows it is more than half of the FID gap in the mean, less than half of
# the CLIP-IQA gap of AdvDM ({doc}`16_adaptive`).

# %% [markdown]
# ## Does it harm clean photographs?
#
# Nobody knows beforehand whether photographs are attacked, so a defence must leave clean ones alone.
# {numref}`fig-harm-table` compares LoRAs on clean photographs behind each defence with LoRAs without one, on
# the same subjects and seeds. A defence is called not inferior if the interval of the difference ends
# below a tenth of the damage that ACE does. In the published study LoRD, with the treatment chosen,
# stays within that margin for FID in both domains, and for CLIP-IQA on landscapes, where it is measurably
# better; on portraits the interval of CLIP-IQA ends beyond the margin. Adversarial training, dropped, stays within
# it for both metrics in both domains, DiffPure but for the CLIP-IQA of landscapes, wide LoRD but for the FID of
# landscapes. Mixed wide LoRD is shown to do no harm by the CLIP-IQA of portraits alone: its other intervals end
# beyond the margin, though they contain 0. For the identity match the margin is small, and no defence, at its chosen
# treatment, is shown not to be inferior; on portraits DiffPure is measurably worse. The other defences have not
# been tried on clean photographs.

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
# In the published study a step of stage 2 costs LoRD little more than a LoRA alone, and wide LoRD, mixed or not,
# nearly a third more. With LoRA and learned gate a sampler step takes half as long again as one of the base model; merged,
# the defence costs sampling nothing, and dropped, little beyond the LoRA itself (presumably for the layers that are
# still wrapped). A step of stage 1 costs LoRD
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
