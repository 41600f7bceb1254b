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
from lord.show import purification_parts

records = study.run(profile, "purification_parts", compute=compute)
show.run_card(records)

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
