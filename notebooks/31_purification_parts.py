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
# # Which part of the purifier counts?
#
# A larger $t^*$ drowns more of the attack, and more of the picture. And
# [the robust process](30_purification.ipynb) has many parts: what its guidance compares, where it looks, and how long it may
# be. Each is taken away or changed alone here, and every purifier meets the same attack through all of its steps.

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
from lord.show import purification_parts, purification_paths

records = study.run(profile, "purification_parts", compute=compute)
paths = study.run(profile, "purification_paths", compute=compute)
show.run_card([*records, *paths])

# %% [markdown]
# ## On the way
#
# One portrait on its way, clean and attacked. The attack takes the gradient through all of the purifier:

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-purified"}, "image": {"alt": "Rows of four small drawn portraits: as given, noisy, less noisy, smooth again."}}
purification_paths.stations(paths)

# %% [markdown]
# > From left to right: as given, noised to $t^*$, before the last step, and what the classifier
# > gets. Clean and attacked pictures get the same noise.

# %% [markdown]
# So the attack can be followed. It is what keeps the two ways apart:

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-purifier-paths"}, "image": {"alt": "A panel for each purifier with three lines: noise falls most on the way, the attack through the purifier least."}}
purification_paths.distances(paths)

# %% [markdown]
# > Root mean square between attacked and clean pictures on their ways, in grey levels of 255. Intervals of
# > 95 % are over pictures. An attack by transfer does not know the purifier; the other averages gradients through it.

# %% [markdown]
# In the published study both purifiers wash off most of noise. So they do with more than half of an
# attack that does not know them. Of one that does, more than half is left.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the numbers", "code_prompt_hide": "Hide the numbers"}
purification_paths.path_findings(paths)

# %% [markdown]
# ## One part at a time

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-frontier"}, "image": {"alt": "Two lines of dots, one for each purifier, and single dots for its variants; to the right more is right without attack, upwards more after it."}}
purification_parts.frontier(records)

# %% [markdown]
# > Share of test pictures that are right in each of several purifications, without the attack and
# > after it. Numbers are $t^*$.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-purifier-parts-table"}}
purification_parts.parts_table(records)

# %% [markdown]
# > The robust process with one part changed, beside the whole, on the same pictures. Columns: the
# > pictures that it won and lost, and the p of the sign test.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show other purifiers", "code_prompt_hide": "Hide other purifiers", "figure": {"name": "fig-purifier-rivals-table"}}
purification_parts.rivals(records)

# %% [markdown]
# > Purifiers at the $t^*$ where each keeps most, beside DiffPure, on the same pictures. Columns:
# > the pictures that each won and lost, and the p of the sign test. GDMP guides by the distance of
# > pixels ([Wang et al., 2022](https://arxiv.org/abs/2205.14969)), GrIDPure takes small steps again
# > and again ([Zhao et al., 2024](https://arxiv.org/abs/2312.00084)).

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
purification_parts.times(records)

# %% tags=["remove-input"]
purification_parts.part_findings(records)

# %% tags=["remove-input"]
purification_parts.rival_findings(records)
