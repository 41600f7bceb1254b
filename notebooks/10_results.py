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
# Does LoRD repair what attacks do, and does anything else do it as well? LoRAs learn from clean photographs and from
# attacked ones, all at the same budgets. ACE is the one without a surrogate ([The ACE attack](04_ace_attack.ipynb)).
#
# Most other defences change the photographs before anything learns from them. Three are filters: JPEG, Gaussian blur
# and total variation. AdverseCleaner is a bilateral filter many times, then a guided one. The embedded model purifies in
# one pass, DiffPure ([Nie et al., 2022](https://arxiv.org/abs/2205.07460)), or in many light ones, GrIDPure ([Zhao et al.,
# 2024](https://arxiv.org/abs/2312.00084)) without its grid. IMPRESS ([Cao et al., 2023](https://arxiv.org/abs/2310.19248))
# and the encoder's half of CAT ([Peng et al., 2025](https://arxiv.org/abs/2502.07225)) work through its autoencoder.
# Adversarial training ([Madry et al., 2018](https://arxiv.org/abs/1706.06083)) changes the model, as LoRD does. That
# the metrics and the purifiers know such pictures flatters DiffPure, GrIDPure, IMPRESS and CAT
# ([Limitations](../book/limitations.md)). What judges say that know none of it, and on new subjects, is
# [a chapter of its own](17_confirmation.ipynb).

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

records = study.run(profile, "selection", compute=compute)
records += study.run(profile, "main", compute=compute)
records += study.run(profile, "scale", compute=compute)
show.run_card(records)

# %% [markdown]
# ## Every defence against ACE
#
# Beside the treatment that was chosen on stage-1 identities stands a row for the defence as it was
# trained. That is learned λ for LoRD, and kept for adversarial training.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-main"}, "image": {"alt": "Panels for each metric and domain with dots and an interval for each defence; the clean LoRA is the first row, the undefended one the second."}}
show.main_figure(profile, "ace")

# %% [markdown]
# > Every defence against ACE: dots are subjects and seeds, bars means with 95 % intervals. Hollow:
# > the defence stays as it was trained, where another treatment was chosen.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the main table: every attack and defence", "code_prompt_hide": "Hide the main table: every attack and defence", "figure": {"name": "fig-main-table"}}
show.main_table(profile)

# %% [markdown]
# > Attacks and the defences that face them, with 95 % intervals over subjects and seeds. Lower is
# > better for embedded FID, higher for embedded quality score and identity match. Highlighted: the best
# > mean of a defence against each attack. What of this is more than chance, the table of paired
# > differences tells. Data: `results/<profile>/main_table.csv`.

# %% tags=["remove-input"]
show.text(
    records,
    "Means are over {main_subjects} subjects and {main_seeds} seeds of a domain. Seeds of one subject correlate "
    "by {main_correlation_fid:.2f} in FID and {main_correlation_clip_iqa:.2f} in the quality score. Intervals are "
    "wider for that. Each defence was trained once for a domain; how another stage 1 would come out is in no "
    "interval.",
)

# %% [markdown]
# ## How much of the damage is repaired
#
# The gap is the distance between the LoRA on attacked and the LoRA on clean photographs. The share that LoRD closes is
#
# $$ \text{gap closed} = \frac{m_\text{ACE} - m_\text{LoRD}}{m_\text{ACE} - m_\text{clean}} $$
#
# for a metric $m$: 0 for no repair, 1 for a LoRA as good as one trained on clean photographs.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-gap"}, "image": {"alt": "Bars of the share of the gap closed with intervals, on a scale where 0 is no repair and 1 is as good as clean."}}
show.gap_closed(profile)

# %% [markdown]
# > Share of the damage of ACE that LoRD repairs, at its chosen test-time treatment. The intervals
# > of 95 % are over subjects and seeds. There is none where the damage itself could be chance.

# %% [markdown]
# The identity match asks only whether the subject's attributes are there, and ACE does less to it.
# Where its interval leaves almost anything open, LoRD brings back a picture that looks right.
# Whether it brings back the person's attributes is not shown.

# %% [markdown]
# ## Is it ahead of its rivals?
#
# The best defences differ less than subjects do, so they are compared on the same subjects and seeds. A difference
# is called measurable here if its interval does not contain 0. In so many intervals one or the other is so by chance.
#
# In the published study no defence is measurably ahead of LoRD under ACE or ACE+ by FID. By the
# quality score of portraits GrIDPure is under both. Under none of the attacks is LoRD measurably ahead
# of DiffPure, GrIDPure or dropped adversarial training, by any metric.
#
# The paper reports LoRD ahead of its baselines, among them adversarial training. What separates the
# rows here is whether the adapter is shut or taken off before sampling. The paper does not describe
# that ([What should λ do?](13_lambda.ipynb)).
#
# In the published study LoRD and adversarial training repair little if they stay in place while
# sampling. Neither closes more than a tenth of the FID gap of ACE.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show what LoRD is ahead of", "code_prompt_hide": "Hide what LoRD is ahead of", "figure": {"name": "fig-rival-table"}}
show.rival_table(profile)

# %% [markdown]
# > By how much LoRD is better than each other defence, in units of each metric. In brackets the 95
# > % interval of paired differences; below 0 it is worse. Green: the interval lies above 0.
# > Orange: it lies below.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show what mixed wide LoRD is ahead of", "code_prompt_hide": "Hide what mixed wide LoRD is ahead of", "figure": {"name": "fig-variant-table"}}
show.rival_table(profile, "lord_mixed")

# %% [markdown]
# > The same for mixed wide LoRD, with LoRD among the others.

# %% [markdown]
# ## Does it harm clean photographs?
#
# Nobody knows beforehand whether photographs are attacked, so a defence must leave clean ones alone. LoRAs on clean
# photographs behind each defence are compared with LoRAs without one, on the same subjects and seeds. A defence is
# called not inferior if the interval ends below a tenth of the damage that ACE does.
#
# In the published study only adversarial training is not inferior by FID and by the quality score in both
# domains. That is among the defences tried on clean photographs, with the treatments chosen. LoRD
# is not inferior by FID in both, by the quality score on landscapes only.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the harm of each defence", "code_prompt_hide": "Hide the harm of each defence", "figure": {"name": "fig-harm-table"}}
show.harm_table(profile)

# %% [markdown]
# > By how much LoRAs on clean photographs are worse behind a defence than without. In brackets the
# > 95 % interval of paired differences; below 0 they are better. Green: not inferior, by the
# > margin of a tenth of the damage of ACE. Orange: surely worse than that.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.answer(
    records,
    "Does LoRD repair it?",
    "Is LoRD ahead of other defences?",
    "Can LoRD be made better?",
)

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show samples of every subject under each condition", "code_prompt_hide": "Hide samples of every subject under each condition", "figure": {"name": "fig-result-samples"}, "image": {"alt": "A sheet of generated portraits and landscapes, one block for each condition."}}
show.sheet(records)

# %% [markdown]
# > Samples of the evaluated subjects under each condition, first seeds, unselected.
