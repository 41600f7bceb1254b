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
# In LoRD {eq}`eq-lord` a gate decides for every input how far the defence branch $B'$ opens. Any fixed
# $\lambda$ does without a gate, and the frozen weight $W$ takes it in together with $A$ and $B$,
#
# $$ W' = W + \tfrac{\alpha}{r} (B + \lambda B') A . $$ (eq-merge)
#
# Is the learned gate at least as good as the best fixed $\lambda$, while stage 2 learns the subject
# ({doc}`09_lord_stage2`) and while the result is sampled? And should the tokens of one image share a
# $\lambda$, or the gate know the timestep?

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

records = study.run(profile, "lambda", compute=compute)
sampled = study.run(profile, "sampled_gates", compute=compute)
choice = study.run(profile, "lambda_choice", compute=compute)
chosen_on = study.run(profile, "selection", compute=compute)
compared = study.run(profile, "main", compute=compute)
compared += study.run(profile, "scale", compute=compute)
show.run_card([*records, *sampled, *choice])

# %% tags=["hide-input"]
show.source("lord.adapter.variant.delta_weight")

# %% [markdown]
# ## Fixed or learned
#
# In stage 2, so the idea, the open branch takes the perturbation off the LoRA; open while sampling, it
# would bring it back. {numref}`fig-gate-grid` takes $\lambda$ of the one against that of the other, for LoRD
# ({doc}`08_lord_stage1`) and photographs attacked by ACE ({doc}`04_ace_attack`). The first row is the learned
# gate; dropped takes the whole adapter off.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Embedded FID (lower is better) of LoRD on photographs attacked by ACE, for the λ of stage 2 (rows) and that of sampling (columns). Darker is worse, on a logarithmic scale of its own for each domain; blank pairs were not measured.", "name": "fig-gate-grid"}, "image": {"alt": "For each domain a matrix of numbers, rows for λ in stage 2 and columns for λ while sampling."}}
show.gate_grid(records, compared)

# %% tags=["hide-input"]
show.gate_findings(records, compared)

# %% [markdown]
# Stage 2 fits the photographs as they are, perturbation included, with whatever $\lambda$ is in place: sampled
# with the same, the network gives the perturbation back. In the published study it stays away if enough of
# the adapter is taken off: the branch closed after a stage 2 with $\lambda \ge ½$, or the whole adapter
# dropped. Dropped, even a stage 2 with the branch closed does well on these subjects, with the ordinary
# branch $B$ alone.
#
# The paper learns with the gate in stage 2, then merges both branches into the weights, and names no $\lambda$.
# Taken at its word, with $\lambda = 1$ while sampling, this leaves a LoRA that is worse than one without a defence:
# of all subjects and seeds, by CLIP-IQA in every cell, by FID in all but one ({numref}`fig-treatments`). With
# $\lambda = 1$ in both places nothing is repaired. The prior of {doc}`09_lord_stage2` does on portraits what
# closing the branch does: it takes so much off the logit of every gate that of what they say while
# sampling ({numref}`fig-sampled-gates`) little more than 0 is left.
#
# Behind a stage 2 with any $\lambda$ but 1 the learned gate fails while sampling, in nearly every cell more
# so than a fixed ½; behind $\lambda = 1$ it repairs part. {numref}`fig-sampled-gates` has
# recorded what it says then. Behind a LoRA that has learned from clean photographs it closes as the noise
# goes; behind one that has learned from attacked photographs it opens, from the first steps on, where
# there is little but noise to see, and it ends as open as it was on the photographs themselves. It reads
# activations, and those carry the LoRA with them: the LoRA makes the gate take its samples for attacked.
# So the learned gate gives sampling the $\lambda$ that stage 2 had, and the same network gives the
# perturbation back. To be as good as a closed branch it would have to say one thing in stage 2 and
# another while sampling, about activations that are alike; a gate that reads them alone has nothing to
# go by. A rule from outside has: closing the branch, or dropping the adapter ({doc}`09_lord_stage2`).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What the gates of LoRD say, means over layers, bands the middle half of the pictures: on the photographs of one subject of each domain, noised, and on samples of the LoRA that has learned from them behind the gates, on their way from noise to picture.", "name": "fig-sampled-gates"}, "image": {"alt": "For each domain, four curves of λ against the timestep: low for clean photographs and the samples of their LoRA, high for attacked photographs and the samples of theirs."}}
show.sampled_gates(sampled)

# %% [markdown]
# ## What shares one λ
#
# What shares a $\lambda$ the paper leaves open; here it is the whole image (unchanged).
# {numref}`fig-lambda-table` also has a gate per token, and one with the timestep as a further input, so that
# it can learn where noise hides the perturbation. Fixed stands for the $\lambda$ of stage 2. With the adapter
# dropped, the FID puts none of these ahead of the learned $\lambda$, or behind it, in every cell of both
# domains. CLIP-IQA puts a fixed $\lambda = ¼$ ahead in every cell of both, and on landscapes all of them.

# %% tags=["hide-input"]
show.ablation_findings(records, compared)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "LoRD on photographs attacked by ACE, with the gate of the other chapters (unchanged), other gates and fixed λ in stage 2; after the colon the treatment at test time, in brackets the lowest and the highest subject. The last columns are the share of the damage that is repaired. Highlighted: the best.", "name": "fig-lambda-table"}}
show.ablation_table(records, compared)

# %% [markdown]
# ## Would a λ chosen beforehand be better?
#
# The subjects above are those of the results, and a $\lambda$ picked because it is best on them looks better
# than it is. So all fixed ones are tried once more, on the identities of stage 1 that chose the
# treatment as well ({doc}`09_lord_stage2`), and the adapter is dropped before sampling.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Stage-1 identities on photographs attacked by ACE: LoRD with the learned λ in stage 2 (unchanged) and with fixed ones, dropped before sampling; in brackets the lower and the higher identity. Highlighted: the best.", "name": "fig-choice-table"}}
show.ablation_table(choice, chosen_on)

# %% tags=["hide-input"]
show.choice_findings(choice, chosen_on)

# %% [markdown]
# In the published study the lowest FID, over both domains, is that of the open branch, $\lambda = 1$, which
# on the evaluated subjects ({numref}`fig-lambda-table`) is behind the learned $\lambda$ by FID in five of six
# cells: the choice does not carry over. By CLIP-IQA it is ahead on every identity and in five of six cells;
# ¼, ahead in all cells by CLIP-IQA, is so on half of the identities. And the closed branch, which does well
# on the evaluated subjects, is behind the learned $\lambda$ by FID on every identity. With the adapter
# dropped no $\lambda$ of stage 2 is reliably better than the learned one, and the study stays with that.
