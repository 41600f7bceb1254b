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
# # What do editors learn from?
#
# Painting a part anew, enlarging, varying: each takes pairs to learn from, or to be attacked on.
# [Zhang et al., 2023](https://arxiv.org/abs/2306.08257) make them from any pictures, without anybody labelling them. `lord dataset` does so with a folder of yours.

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
from lord.api import instruments_for
from lord.data.subjects import sample_domain
from lord.models.pipeline import load_pipeline
from lord.show import editing

records = study.run(profile, "edits", compute=compute)
show.run_card(records)
pictures = sample_domain("landscapes", "evaluation", range(64))

# %% [markdown]
# ## What is painted anew
#
# A mask is a random shape, turned, stretched, cut and blurred. Or it is a segment of the picture
# itself that covers more than a twentieth of it. What a mask covers becomes grey.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-masks"}, "image": {"alt": "Three rows of drawn landscapes: whole, with grey ellipses, boxes and stars, and with grey hills or skies."}}
editing.masked(pictures.images[:8])

# %% [markdown]
# > Pictures, and what is left of them under masks of both kinds.

# %% [markdown]
# ## What is made large again
#
# Small pictures come about in different ways; who learns from one kernel alone learns to undo that kernel. Each
# pair has one of four.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-small"}, "image": {"alt": "Five rows of drawn landscapes: sharp ones, and four rows of coarse ones that differ a little in blur."}}
editing.shrunk(pictures.images[:8])

# %% [markdown]
# > Pictures, and the same ones a quarter as wide, by each kernel.

# %% [markdown]
# ## What is said of a picture
#
# Of many prompts those are kept that suit a picture best, by the cosine of the embeddings of CLIP.

# %% tags=["hide-input"]
clip = instruments_for(load_pipeline()).clip

# %% tags=["remove-input"]
editing.ranked(pictures.images, pictures.captions, clip)

# %% [markdown]
# ## How good edits of clean pictures are
#
# What attacks spoil is worth something only if it was good before. Each task is measured beside
# what needs no model. That is the picture as it is, grey under its mask, or scaled up.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-edits"}, "image": {"alt": "Rows of small drawn pictures that are alike."}}
editing.edits(records)

# %% [markdown]
# > Pictures, their edits by the embedded model, and what needs no model.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-edits-table"}}
editing.quality_table(records)

# %% [markdown]
# > Edits of clean pictures against the pictures as they were rendered.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
editing.ranking_findings(pictures.images, pictures.captions, clip)
