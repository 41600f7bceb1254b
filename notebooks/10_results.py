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
# The whole comparison: LoRA on clean photographs, on ACE photographs without a defence, and with LoRD.

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
show.run_card(records)

# %% tags=["remove-cell"]
show.glue_numbers(records)

# %% [markdown]
# ## The main table
#
# {numref}`fig-main-table` averages over {glue:text}`main_subjects` subjects and
# {glue:text}`main_seeds` seeds in each domain. Behind it is `results/<profile>/main_table.csv`. The
# intervals take every pair of subject and seed as independent. Seeds of one subject share its
# photographs, so the intervals are rather too narrow than too wide.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Embedded FID, embedded CLIP-IQA and identity match, with 95 % intervals. Highlighted: the best condition on attacked photographs.", "name": "fig-main-table"}}
show.main_table(profile)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The main table as a picture: every dot is one subject and one seed; bars are means with 95 % intervals.", "name": "fig-main"}, "image": {"alt": "Panels for each domain and metric with dots and interval bars for the four training conditions."}}
show.main_figure(profile)

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
# {glue:text}`main_landscapes_gap_identity:.0%`.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Share of the damage that LoRD repairs, for each domain and metric.", "name": "fig-gap"}, "image": {"alt": "Bars of the share of the gap closed, on a scale where 0 is no repair and 1 is as good as clean."}}
show.gap_closed(profile)

# %% [markdown]
# ## Look for yourself
#
# {numref}`fig-result-samples` shows samples of every subject, from the first seeds, not chosen.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Samples of the evaluated subjects under each condition, first seeds, unselected.", "name": "fig-result-samples"}, "image": {"alt": "A sheet of generated portraits and landscapes, one block for each condition."}}
show.sheet(records)
