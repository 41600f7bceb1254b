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
# # LoRD, stage 2: fine-tuning behind the defence
#
# Does a LoRA stay clean behind the defence, and what becomes of the defence once it has learned? In
# stage 2 the stage-1 adapter is loaded and frozen. An ordinary LoRA is trained on the photographs
# of a subject, attacked or not. Its loss is the plain denoising loss. The hope: the frozen defence
# branch absorbs the perturbation, so the new LoRA need not learn it.

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

records = study.run(profile, "selection", compute=compute)
records += study.run(profile, "main", compute=compute)
records += study.run(profile, "scale", compute=compute)
show.run_card(records)

# %% [markdown]
# ## One subject, with and without

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-stage2-samples"}, "image": {"alt": "Rows of generated pictures of one subject, one row for each training condition."}}
show.treatment_samples(records)

# %% [markdown]
# > One subject of each domain. Below its photographs: samples of LoRAs trained on clean
# > photographs, on attacked ones, and on attacked ones behind LoRD.

# %% [markdown]
# ## What to do with the gate at test time
#
# The gate reads its input, so no single static merge reproduces it. Possible treatments are:
#
# - **learned**: the gate computes $\lambda$ at every layer and step;
# - **learned λ with a prior**: stage 1 showed the gate as many attacked as clean inputs. So an
#   input that tells it nothing gets $\lambda = ½$. If one input in a hundred is attacked, Bayes'
#   rule shifts the logit ([Saerens et al., 2002](https://doi.org/10.1162/089976602753284446)):
#   $\lambda = \sigma(\mathrm{MLP}(\cdot) + \log \tfrac{p}{1-p})$, and that input gets $p$;
# - **fixed λ**: $\lambda$ is a number. 0 closes the defence branch and keeps the ordinary one. 1
#   opens it fully. That equals merging both branches into $W$, as the paper describes, which names
#   no $\lambda$;
# - **dropped**: the stage-1 adapter is removed before sampling, both branches.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.defences.treatments.apply_treatment")

# %% [markdown]
# Which treatment the results report is decided on further stage-1 identities. Neither has stage 1
# learned from them, nor do the results evaluate them. The subjects that are evaluated have no say
# in it.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show how the treatment was chosen", "code_prompt_hide": "Hide how the treatment was chosen", "figure": {"name": "fig-selection-table"}}
show.treatment_table(records, "selection")

# %% [markdown]
# > Test-time treatments of the gate on stage-1 identities whose photographs were attacked. The best
# > embedded FID chooses among these. With two identities the intervals are no more than the lowest
# > and the highest.

# %% [markdown]
# Why may an open branch bring the attack back? In stage 2 the branch stands in for the
# perturbation, so that the LoRA need not learn it. Where the branch stays open while sampling, the
# model predicts as it did on attacked photographs, and the perturbation returns. [What should λ
# do?](13_lambda.ipynb) takes $\lambda$ of stage 2 and $\lambda$ of sampling apart. It also asks why
# the learned gate does not close by itself.
#
# In the published study the paper's merge, λ = 1, leaves a worse FID than no defence, in both domains. LoRD closes over
# four fifths of ACE's FID gap with the prior, the branch closed or the adapter dropped.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-treatments"}, "image": {"alt": "Panels for each metric and domain, with a point and an error bar for each treatment."}}
show.treatment_comparison(records)

# %% [markdown]
# > Embedded FID and embedded quality score of test-time treatments of the gate on the evaluated
# > subjects, with 95 % intervals. Filled: the treatment chosen on stage-1 identities.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-treatment-table"}}
show.treatment_table(records)

# %% [markdown]
# > Test-time treatments of the gate on the evaluated subjects, with 95 % intervals over subjects
# > and seeds.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.answer(records, "Does it work as it was trained?")
