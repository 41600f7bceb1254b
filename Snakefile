"""The study as a graph: the experiments with their order, the notebooks, the book.

Local: `make study`, or `snakemake --cores all --config profile=full -- book`. On a cluster add an
executor plugin, for example `snakemake --executor slurm --jobs 50 --config profile=full -- book`.

Settings (`--config`): profile (default quick), compute (default True; False shows the records that
are there and computes nothing), strict (default False; True makes warnings of the book errors).
"""

import os
from pathlib import Path

from lord.study.notebooks import notebook_names
from lord.study.plan import jobs
from lord.study.profile import ABLATIONS, load_profile
from lord.study.run import results_root, state_of, store_of

PROFILE = config.get("profile", "quick")
COMPUTE = config.get("compute", True)
STRICT = config.get("strict", False)
RESULTS = f"{results_root()}/{PROFILE}"
SETTINGS = f"lord/study/profiles/{PROFILE}.yaml"
# A change of the code draws every figure again; it recomputes nothing.
CODE = sorted(str(path) for path in Path("lord").rglob("*.py"))
# Stamps say that a job has been done; what it found is in the records beside them. `lord study run`
# recognises finished records itself, so a lost stamp costs seconds; a stamp whose record is lost is
# taken away.
STAMPS = f"{RESULTS}/.done"
# One thread for each job: results do not depend on the number of cores, and jobs run side by side.
ONE_THREAD = "OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 "

# A cell is what one process computes: all experiments of one stage, domain, subject, seed, attack.
CELLS = {}
STORE = store_of(load_profile(PROFILE))
for job in jobs(load_profile(PROFILE)):
    place = {name: getattr(job, name) for name in ("stage", "domain", "subject", "seed", "attack")}
    place = {name: str(value) for name, value in place.items() if value is not None}
    cell = "-".join(place.values())
    CELLS[cell] = place
    records = STORE.records(job.stage)
    if any(state_of(job, name, records) != "finished" for name in job.outputs):
        Path(STAMPS, cell).unlink(missing_ok=True)

# The stages whose records a notebook shows.
SHOWN = {
    "01_data": {"data"},
    "02_embedded_model": {"model"},
    "03_metrics": {"metrics"},
    "04_ace_attack": {"ace", "main"},
    "05_attacks": {"main", "damage"},
    "06_damage": {"main", "damage"},
    "07_attack_cost": {"main", "steps", "performance"},
    "08_lord_stage1": {"stage1"},
    "09_lord_stage2": {"stage2", "main"},
    "10_results": {"stage2", "main", "stage1", "performance", "cost"},
    "11_audit": {"audit"},
    "12_rank": {"rank", "rank_cost", "main"},
    "13_lambda": {"lambda", "lambda_choice", "sampled_gates", "stage2", "main"},
    "14_parts": {"parts", "stage1_data", "main"},
    "15_transfer": {"transfer", "stage2", "main"},
    "16_adaptive": {"adaptive", "masking", "masking_diffpure", "main"},
}


def stamps_of(stages, domain=None):
    """The stamps of all cells of some stages, or of those in one domain."""
    return [
        f"{STAMPS}/{name}"
        for name, place in CELLS.items()
        if place["stage"] in stages and domain in (None, place.get("domain"))
    ]


def needed_before(cell):
    """A cell with defences needs stage 1 of its domain, or of all; the audit, attacked photographs
    too, and masking those attacked knowingly, the gates while sampling, LoRD of its domain."""
    place = CELLS[cell]
    needs = dict.fromkeys(("stage2", "main", *ABLATIONS), {"stage1"})
    needs["audit"] = {"stage1", "stage2", "damage"}
    needs["masking"] = {"adaptive"}
    needs["sampled_gates"] = {"lambda"}
    domain = None if place["stage"] == "transfer" else place.get("domain")
    return stamps_of(needs.get(place["stage"], ()), domain)


def threads_of(cell):
    """One; but what measures time has the machine for itself: no more are taken than there are."""
    timed = ("performance", "cost", "rank_cost")
    return os.cpu_count() if CELLS[cell]["stage"] in timed else 1


def options_of(cell):
    return " ".join(f"--{name} {value}" for name, value in CELLS[cell].items())


def records_of(notebook):
    """The cells a notebook waits for or, where nothing is computed, the records as they are."""
    if COMPUTE:
        return stamps_of(SHOWN[notebook])
    return sorted(str(path) for path in Path(RESULTS).glob("*.jsonl"))


wildcard_constraints:
    cell="(?!tables$)[a-z0-9_-]+",


localrules:
    book,
    tables,


rule book:
    input:
        expand(f"book/_executed/{PROFILE}/{{name}}.ipynb", name=notebook_names()),
        "_config.yml",
        "_toc.yml",
        [str(path) for path in Path("book").glob("*.*")],
        "book/_static/custom.css",
        [f"{STAMPS}/tables"] if COMPUTE else [],
    output:
        f"book/_build/{PROFILE}.built",
        "book/_build/html/index.html",
    params:
        strict="--strict" if STRICT else "",
    shell:
        # The book holds one profile at a time: another one's stamp is void now.
        "rm -f book/_build/*.built && lord study book --profile {PROFILE} {params.strict}"
        " && touch {output[0]}"


rule tables:
    input:
        stamps_of({place["stage"] for place in CELLS.values()}),
        CODE,
    output:
        f"{STAMPS}/tables",
    shell:
        ONE_THREAD + "lord study tables --profile {PROFILE} > {output}"


rule notebook:
    input:
        "notebooks/{name}.ipynb",
        SETTINGS,
        CODE,
        lambda wildcards: records_of(wildcards.name),
    output:
        f"book/_executed/{PROFILE}/{{name}}.ipynb",
    shell:
        ONE_THREAD + "lord study notebook {wildcards.name} --profile {PROFILE} -p compute={COMPUTE}"


rule cell:
    input:
        SETTINGS,
        lambda wildcards: needed_before(wildcards.cell),
    output:
        touch(f"{STAMPS}/{{cell}}"),
    params:
        options=lambda wildcards: options_of(wildcards.cell),
    threads: lambda wildcards: threads_of(wildcards.cell)
    shell:
        ONE_THREAD + "lord study run --profile {PROFILE} {params.options}"
