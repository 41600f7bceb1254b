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
# # What should λ do?
#
# In LoRD ([stage 1](08_lord_stage1.ipynb)) a gate decides for every input how far the defence branch $B'$ opens. Any
# fixed $\lambda$ does without a gate, and the frozen weight $W$ takes it in together with $A$ and $B$,
#
# $$ W' = W + \tfrac{\alpha}{r} (B + \lambda B') A . $$
#
# Is the learned gate at least as good as the best fixed $\lambda$, in stage 2 and in sampling? And
# should the tokens of one image share a $\lambda$, or the gate know the timestep?

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

records = study.run(profile, "lambda", compute=compute)
sampled = study.run(profile, "sampled_gates", compute=compute)
choice = study.run(profile, "lambda_choice", compute=compute)
chosen_on = study.run(profile, "selection", compute=compute)
compared = study.run(profile, "main", compute=compute)
compared += study.run(profile, "scale", compute=compute)
show.run_card([*records, *sampled, *choice])

# %% tags=["remove-input"]
show.source("lord.adapter.variant.delta_weight")

# %% [markdown]
# ## Fixed or learned
#
# In stage 2, so the idea, the open branch takes the perturbation off the LoRA. Open while sampling,
# it would bring it back. Here $\lambda$ of the one is taken against that of the other, on
# photographs attacked by ACE. The first row is the learned gate; dropped takes the whole adapter
# off.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-gate-grid"}, "image": {"alt": "For each domain a matrix of numbers, rows for λ in stage 2 and columns for λ while sampling."}}
show.gate_grid(records, compared)

# %% [markdown]
# > Embedded FID of LoRD under ACE, for the λ of stage 2 (rows) and that of sampling (columns).
# > Lower is better. Darker is worse, on a logarithmic scale for each domain; blank pairs were not
# > measured.

# %% [markdown]
# Stage 2 fits the photographs as they are, perturbation included, with whatever $\lambda$ is in
# place. Sampled with the same, the network gives the perturbation back.
#
# In the published study more than four fifths of the FID gap close with the adapter dropped. As much closes with the
# branch shut, after a stage 2 with a gate or λ of at least ½. With λ = 1 while sampling, the paper's merge, nothing
# closes, whatever stage 2 had. With the learned gate while sampling at most a twentieth closes, except behind a stage 2
# with λ = 1.

# %% tags=["remove-input"]
show.gate_findings(records, compared)

# %% [markdown]
# ## Why the learned gate does not close
#
# What does the gate say while a LoRA is sampled?

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-sampled-gates"}, "image": {"alt": "For each domain, four curves of λ against the timestep: low for clean photographs and the samples of their LoRA, high for attacked photographs and the samples of theirs."}}
show.sampled_gates(sampled)

# %% [markdown]
# > What the gates of LoRD say on noised photographs of one subject of each domain. And what they
# > say on samples of its LoRA, on their way from noise to picture. Lines are means over layers,
# > bands the middle half of the pictures.

# %% [markdown]
# In the published study, samples of a LoRA from attacked photographs open the gates more than those
# from clean photographs. They do so at every step. At the end the gates are as open as on the
# attacked photographs themselves, to within a tenth.
#
# The gate reads activations, and those carry the LoRA with them. The LoRA makes the gate take its
# samples for attacked. So the learned gate gives sampling the $\lambda$ that stage 2 had, and the
# same network gives the perturbation back. To match a closed branch it would have to judge similar
# activations differently in stage 2 and while sampling. A gate that reads them alone has nothing to
# go by. A rule from outside has: closing the branch, or dropping the adapter ([stage
# 2](09_lord_stage2.ipynb)).

# %% [markdown]
# ## Other gates, and a λ chosen beforehand
#
# What shares a $\lambda$ the paper leaves open; here it is the whole image (unchanged). The table
# also has a gate per token, one that knows the timestep, and every fixed $\lambda$ of stage 2. A
# $\lambda$ picked because it is best on the evaluated subjects looks better than it is.
# So all fixed ones are tried once more, on the stage-1 identities that chose the treatment.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show every gate and treatment", "code_prompt_hide": "Hide every gate and treatment", "figure": {"name": "fig-lambda-table"}}
show.ablation_table(records, compared)

# %% [markdown]
# > LoRD under ACE, with the gate of the other chapters (unchanged), other gates and fixed λ in
# > stage 2. After the colon stands the treatment at test time; brackets hold the lowest and the
# > highest subject. The last columns are the share of the damage that is repaired. Highlighted: the
# > best.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show every fixed λ on stage-1 identities", "code_prompt_hide": "Hide every fixed λ on stage-1 identities", "figure": {"name": "fig-choice-table"}}
show.ablation_table(choice, chosen_on)

# %% [markdown]
# > LoRD on stage-1 identities under ACE, dropped before sampling. In stage 2 λ was learned
# > (unchanged) or fixed. In brackets: the lower and the higher identity. Highlighted: the best.

# %% tags=["remove-input"]
show.choice_findings(choice, chosen_on)

# %% [markdown]
# In the published study, dropped, no fixed λ of stage 2 has the better FID on every identity. None
# has it in every cell of the evaluated subjects. So the study stays with the learned one.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.ablation_findings(records, compared)
