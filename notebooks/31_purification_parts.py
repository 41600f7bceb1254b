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
# > Share of test pictures that are right in every one of several purifications, without the attack
# > and after it; numbers are $t^*$.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-purifier-parts-table"}}
purification_parts.parts_table(records)

# %% [markdown]
# > The robust process with one part changed, beside the whole on the same pictures: the pictures
# > that it won and lost, and the p of the sign test.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
purification_parts.times(records)

# %% tags=["remove-input"]
purification_parts.part_findings(records)
