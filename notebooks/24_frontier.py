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
# # Where does detection fail?
#
# Backdoors as they are published move the noise far, often and openly. [The last chapter](23_terd.ipynb) looked for
# such ones. An attacker can do with less: a weaker or a smaller trigger, or fewer poisoned pictures. And whoever knows
# TERD can lay **false trails**: further triggers with which the model is taught to behave. They are as strong and lie
# elsewhere. Each way is walked from one backdoor of that chapter. How far does it work, and how far is it found?

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
from lord.show import backdoor_frontier

records = study.run(profile, "backdoors", compute=compute)
records += study.run(profile, "reversion", compute=compute)
records += study.run(profile, "elijah", compute=compute)
show.run_card(records)

# %% tags=["remove-input"]
show.source("lord.experiments.terd.chain.suspects.poisons_of")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-backdoor-frontier"}, "image": {"alt": "Panels side by side, one for each way to hide a backdoor, with a line of dots for each detector over p-values on a logarithmic scale; a dotted line marks below which a model is suspected."}}
backdoor_frontier.frontier(records)

# %% [markdown]
# > How probable a clean model is that looks as suspicious, by each detector. Below the dotted line
# > a model is suspected. Each panel starts on the left from the same backdoor. Open dots: the
# > backdoor does not work.

# %% [markdown]
# In the published study false trails hide the backdoor from the Elijah-style detector. TERD from
# both starts finds it more surely than without them. From the published start alone it misses it
# either way.
#
# There the smallest box still works most of the time, and TERD misses it by little. The norm alone
# finds it. One poisoned picture in twenty is enough for a backdoor, which both starts find. One in
# fifty is enough for three triggered samples of four, and no detector finds it.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-frontier-table"}}
backdoor_frontier.models_table(records)

# %% [markdown]
# > The same models in numbers, with the trigger's norm and the best cosine of a reversed trigger
# > with it.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
backdoor_frontier.frontier_findings(records)
