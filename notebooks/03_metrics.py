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
# # Measuring damage
#
# Three questions are asked of a set of samples: does it look like clean pictures of the subject
# (FID), do the pictures look good (CLIP-IQA), and do they show the subject at all (identity match)?
# Before any number, three things limit what the answers say about other models:
#
# - The model is small: about 8 million parameters, on 64 × 64 drawings.
# - The metrics know the damage. The network behind the FID has learned tiles and swirls, the textures that
#   attacks leave, as classes, and the identity match uses the same network. The quality score, called
#   CLIP-IQA here, was trained on the severity of such damage.
# - The purifiers that use the model (DiffPure, GrIDPure, IMPRESS and CAT in {doc}`10_results`) work with one
#   that was trained on the very distribution of the test pictures, which flatters them.
#
# At this size, networks trained on photographs would answer none of them well, so the embedded model
# is judged by small networks of its own, trained on renders. Their numbers carry their own names,
# `fid_embedded` and `clip_iqa_embedded`, because they must not be compared with Inception FID or
# with CLIP-IQA from the OpenAI model; models from the hub are judged by those.

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

records = study.run(profile, "metrics", compute=compute)
records += study.run(profile, "scale", compute=compute)
show.run_card(records)

# %% tags=["remove-cell"]
show.glue_numbers(records)

# %% [markdown]
# ## Fréchet distance
#
# The features of two sets of images are summed up by their means and covariances
# {cite}`heusel2017fid`:
#
# $$ \mathrm{FID} = \lVert \mu_1 - \mu_2 \rVert^2 + \operatorname{tr}\bigl(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2}\bigr). $$ (eq-fid)
#
# The feature network was trained to recognise attributes *and* degradations, kind and severity, with tiles
# like those of ACE and swirls like those of AdvDM among the kinds. A network that knows attributes only is
# blind to the artefacts that matter here. Two disjoint sets of clean pictures
# score {glue:text}`metrics_fid_floor:.2f`: no FID in this book can be expected to fall below it. Fewer
# pictures score higher, so only sets of one size are compared; the results are of smaller sets than
# this floor, and their own lies higher.

# %% tags=["hide-input"]
show.source("lord.metrics.fid.fid")

# %% [markdown]
# ## CLIP-IQA
#
# CLIP {cite}`radford2021clip` embeds images and texts in one space. CLIP-IQA {cite}`wang2023clipiqa`
# asks it which of two opposite texts describes the image better. With $s_1$ and $s_2$ the
# similarities of the image to "Good photo." and to "Bad photo.",
#
# $$ \text{CLIP-IQA} = \frac{e^{s_1}}{e^{s_1} + e^{s_2}}, $$ (eq-clip-iqa)
#
# a number between 0 and 1; higher is better. The published CLIP-IQA takes CLIP as it is. Here the
# small CLIP was trained on these two texts: the score of a render is to equal one minus the severity of what
# was done to it.

# %% tags=["hide-input"]
show.source("lord.metrics.clip_iqa.clip_iqa")

# %% [markdown]
# ## Do the metrics see what the eye sees?
#
# A metric that is to decide between treatments must fall or rise steadily as pictures get worse.
# {numref}`fig-monotone` degrades clean pictures in five ways, from slight to severe. The
# weakest rank correlation between severity and metric, over all curves, is
# {glue:text}`metrics_spearman_min:.2f`. The order is right; the scale is not the same everywhere: of all
# five, the small CLIP forgives blur most, above all on landscapes.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Embedded FID, embedded CLIP-IQA and identity match against the severity of five degradations.", "name": "fig-monotone"}, "image": {"alt": "Three rows of curves, a column for each domain: embedded FID rises, embedded CLIP-IQA and identity match fall with the severity of blur, noise, JPEG, tiled pattern and texture."}}
show.metric_curves(records)

# %% [markdown]
# ## How sure is a number?
#
# A cell of the study is one subject and one seed. Means over cells come with a 95 % interval from the
# bootstrap, in the expanded percentile form {cite}`hesterberg2015bootstrap`. With few cells that falls
# less short of 95 % than the plain percentiles do, but still short: with two cells it is no more than
# the lowest and the highest.
#
# Seeds of one subject share its photographs and come out alike, so they tell less than as many subjects would:
# $n$ cells with $m$ seeds of each subject tell no more than
#
# $$ n_\text{effective} = \frac{n}{1 + (m - 1) \rho} $$ (eq-effective)
#
# independent ones {cite}`kish1965survey`, where $\rho$ is the correlation of seeds of one subject. An interval is as
# wide as so many cells would make it. Three subjects do not tell their $\rho$, so it is the median over all
# rows of a table.

# %% tags=["hide-input"]
show.source("lord.metrics.interval.design_effect")
