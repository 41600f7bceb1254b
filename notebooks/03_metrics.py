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
# How is damage measured? Three questions are asked of a set of samples. Does it look like clean
# pictures of the subject (FID)? Do the pictures look good (a quality score)? Do they show the subject at
# all (identity match)?
#
# Networks trained on photographs would answer none of them well for drawings of 64 × 64 pixels. So
# small networks judge here, trained on renders, and on the very damage that attacks do. That makes
# them sharp, and no independent judges ([Limitations](../book/limitations.md)). Their numbers have
# names of their own: embedded FID and embedded quality score (`fid_embedded`, `clip_iqa_embedded`).
# Do not compare them with Inception FID or with the published CLIP-IQA, which judge models from the
# hub.

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

records = study.run(profile, "metrics", compute=compute)
records += study.run(profile, "scale", compute=compute)
show.run_card(records)

# %% [markdown]
# ## Do the metrics see what the eye sees?
#
# A metric that is to decide between treatments must fall or rise steadily as pictures get worse.
# Here clean pictures are degraded in five ways, from slight to severe.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-monotone"}, "image": {"alt": "A row of curves for each metric, a column for each domain: distances rise, embedded quality score and identity match fall with the severity of blur, noise, JPEG, tiled pattern and texture."}}
show.metric_curves(records)

# %% [markdown]
# > Every metric against the severity of five degradations. Those by ImageNet and MS-SSIM, where shown, learned none of
# > them.

# %% [markdown]
# In the published study identity by ImageNet falls below chance at the first step of the ACE pattern
# on landscapes. So it tells that there is damage, and not how much.

# %% [markdown]
# ## Fréchet distance
#
# The features of two sets of images are summed up by their means and covariances
# ([Heusel et al., 2017](https://arxiv.org/abs/1706.08500)):
#
# $$ \mathrm{FID} = \lVert \mu_1 - \mu_2 \rVert^2 + \operatorname{tr}\bigl(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2}\bigr). $$
#
# The feature network was trained to recognise attributes *and* degradations, their kind and
# severity. Among the kinds are tiles like those of ACE and swirls like those of AdvDM. A network
# that knows attributes only is blind to the artefacts that matter here. Fewer pictures score
# higher, so only sets of one size are compared.

# %% tags=["remove-input"]
show.source("lord.metrics.fid.fid")

# %% [markdown]
# ## Quality score
#
# CLIP ([Radford et al., 2021](https://arxiv.org/abs/2103.00020)) embeds images and texts in one space. CLIP-IQA ([Wang et al., 2023](https://doi.org/10.1609/aaai.v37i2.25353))
# asks it which of two opposite texts describes the image better. With $s_1$ and $s_2$ the
# similarities of the image to "Good photo." and to "Bad photo.",
#
# $$ \text{CLIP-IQA} = \frac{e^{s_1}}{e^{s_1} + e^{s_2}}, $$
#
# a number between 0 and 1; higher is better. The published CLIP-IQA takes CLIP as it is. Here the
# small CLIP was trained on these two texts. The score of a render is to equal one minus the
# severity of what was done to it. So it is called *embedded quality score* and not CLIP-IQA.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.metrics.clip_iqa.clip_iqa")

# %% [markdown]
# ## Judges that have seen none of the damage
#
# Both networks above learned the damage that they measure, so a sceptic may ask for others. The
# experiment `confirmation` measures by four more judges, on subjects that no other chapter shows.
# EfficientNet-Lite0 learned to name photographs, those of ImageNet. FID and the kernel distance KID
# look through its features. A linear map reads a subject's attributes off them. And nobody learned
# the fourth: one minus the multiscale SSIM to the most similar clean picture.
#
# `lord study rate` asks people. It makes a page of pairs
# that does not say which is which. Then it counts which metrics agree with the answers.
#
# What these judges say of LoRD and its rivals is the question of
# [another chapter](17_confirmation.ipynb).

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.metrics.independent.measure_independently")

# %% [markdown]
# ## How sure is a number?
#
# A cell of the study is one subject and one seed. Means over cells come with a 95 % interval from
# the bootstrap, in the expanded percentile form ([Hesterberg,
# 2015](https://doi.org/10.1080/00031305.2015.1089789)). With few cells that falls less
# short of 95 % than the plain percentiles do, but still short. With two cells it is no more than the lowest and
# the highest.
#
# Seeds of one subject share its photographs and come out alike, so they tell less than as many
# subjects would. That is, $n$ cells with $m$ seeds of each subject tell no more than
#
# $$ n_\text{effective} = \frac{n}{1 + (m - 1) \rho} $$
#
# independent ones (Kish, 1965), where $\rho$ is the correlation of seeds of one subject. An interval is as
# wide as so many cells would make it. Three subjects do not tell their $\rho$, so it is the median over all
# rows of a table.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.metrics.interval.design_effect")

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.text(
    records,
    "The weakest rank correlation between severity and a metric is {metrics_spearman_min:.2f}, of "
    "{metrics_weakest}. 1 is perfect. A FID has a scale. As many clean pictures as a "
    "LoRA is judged by score {scale_same:.1f}. Those of another subject score {scale_other:.0f}.",
)
