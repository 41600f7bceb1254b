"""The study as a graph: stage 1 of every domain, every subject and seed, the notebooks, the book.

Local: `make study`, or `snakemake --cores all --config profile=full -- book`. On a cluster add an
executor plugin, for example `snakemake --executor slurm --jobs 50 --config profile=full -- book`.

Settings (`--config`): profile (default quick), compute (default True; False shows the records that
are there and computes nothing), strict (default False; True makes warnings of the book errors).
"""

from pathlib import Path

from lord.study.notebooks import notebook_names
from lord.study.profile import load_profile

PROFILE = config.get("profile", "quick")
COMPUTE = config.get("compute", True)
STRICT = config.get("strict", False)
STUDY = load_profile(PROFILE)
RESULTS = f"results/{PROFILE}"
# Stamps say that a job has been done; what it found is in the records beside them. `lord study run`
# recognises finished records itself, so a lost stamp costs seconds.
STAMPS = f"{RESULTS}/.done"
# One thread for each job: results do not depend on the number of cores, and jobs run side by side.
ONE_THREAD = "OMP_NUM_THREADS=1 MKL_NUM_THREADS=1"
SETTINGS = f"lord/study/profiles/{PROFILE}.yaml"
# A change of the code redraws every figure and marks stale records; it recomputes nothing.
CODE = sorted(str(path) for path in Path("lord").rglob("*.py"))

DEFENCES = expand(f"{STAMPS}/{{domain}}-stage1", domain=STUDY.domains)
SUBJECTS = expand(
    f"{STAMPS}/{{domain}}-subject{{subject}}-seed{{seed}}",
    domain=STUDY.domains,
    subject=STUDY.subjects,
    seed=STUDY.seeds,
)
# What a notebook shows beyond what it computes itself.
NEEDED = {"05_lord_stage1": DEFENCES, "06_lord_stage2": SUBJECTS, "07_results": SUBJECTS}


wildcard_constraints:
    domain="[a-z]+",
    subject=r"\d+",
    seed=r"\d+",


localrules:
    book,


rule book:
    input:
        expand(f"book/_executed/{PROFILE}/{{name}}.ipynb", name=notebook_names()),
        "_config.yml",
        "_toc.yml",
        [str(path) for path in Path("book").glob("*.*")],
        "book/_static/custom.css",
    output:
        f"book/_build/{PROFILE}.built",
        "book/_build/html/index.html",
    params:
        strict="--strict" if STRICT else "",
    shell:
        # The book holds one profile at a time: another one's stamp is void now.
        "rm -f book/_build/*.built && lord study book --profile {PROFILE} {params.strict}"
        " && touch {output[0]}"


rule notebook:
    input:
        "notebooks/{name}.ipynb",
        SETTINGS,
        CODE,
        lambda wildcards: records_of(wildcards.name),
    output:
        f"book/_executed/{PROFILE}/{{name}}.ipynb",
    shell:
        ONE_THREAD + " lord study notebook {wildcards.name} --profile {PROFILE} -p compute={COMPUTE}"


rule subject:
    input:
        SETTINGS,
        f"{STAMPS}/{{domain}}-stage1",
    output:
        touch(f"{STAMPS}/{{domain}}-subject{{subject}}-seed{{seed}}"),
    shell:
        ONE_THREAD + " lord study run --profile {PROFILE} --domain {wildcards.domain}"
        " --subject {wildcards.subject} --seed {wildcards.seed}"


rule stage1:
    input:
        SETTINGS,
    output:
        touch(f"{STAMPS}/{{domain}}-stage1"),
    shell:
        ONE_THREAD + " lord study run --profile {PROFILE} --domain {wildcards.domain} --stage stage1"


def records_of(name):
    """The jobs a notebook waits for or, where nothing is computed, the records as they are."""
    if COMPUTE:
        return NEEDED.get(name, [])
    return sorted(str(path) for path in Path(RESULTS).rglob("*.json"))
