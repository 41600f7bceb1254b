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
# # Portraits and landscapes
#
# Can fine-tuning on a person be studied without anybody's photographs? It takes many pictures of
# one person, and clean ones never seen in training. Every picture in this book is drawn from
# numbers. A portrait has an **identity**: skin, hair, beard, glasses, clothes, the shape of the
# face. The rest of it is **nuisance**: pose, light, expression, background. A landscape is made of
# a **place** and of its **conditions**. Hold the identity and vary the rest, and the result is an
# album of one person.

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
from lord.data.subjects import Subject, sample_domain

records = study.run(profile, "data", compute=compute)
show.run_card(records)

# %% [markdown]
# ## Two domains
#
# Every picture comes with a caption in plain words, made from what was drawn. Here are
# different identities of both domains.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-portraits"}, "image": {"alt": "A grid of small drawn portraits that differ in skin, hair, glasses, clothes, light and background."}}
portraits = sample_domain("portraits", "train", range(8))
show.image_grid(portraits.images, captions=portraits.captions, columns=4)

# %% [markdown]
# > Rendered portraits of different people, with their captions.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-landscapes"}, "image": {"alt": "A grid of small drawn landscapes with mountains, hills, dunes and cliffs at several seasons and times of day."}}
landscapes = sample_domain("landscapes", "train", range(8))
show.image_grid(landscapes.images, captions=landscapes.captions, columns=4)

# %% [markdown]
# > Rendered landscapes of different places, with their captions.

# %% [markdown]
# ## One subject, many photographs
#
# A *subject* is one identity. Its photographs for training and its clean reference pictures share
# the identity and nothing else. The identities that train the model, that
# train the defence and that are attacked and measured never overlap.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-subject"}, "image": {"alt": "Two rows of portraits of the same drawn person with changing pose, light, expression and background."}}
person = Subject("portraits", "evaluation", 0)
show.image_rows(
    {"photographs": person.photographs(6).images, "references": person.references(6).images}
)

# %% [markdown]
# > One evaluation subject: training photographs (upper row) and clean references (lower row).

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.text(
    records,
    "No photograph of anybody is needed: a picture depends on its seed alone. The machine of the "
    "records drew {data_portraits_per_second:.0f} portraits and {data_landscapes_per_second:.0f} "
    "landscapes a second.",
)
