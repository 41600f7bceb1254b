"""The study as a graph: the experiments with their order, the notebooks, the book.

Local: `make study`, or `snakemake --cores all --config profile=full -- book`. On a cluster name an
executor plugin, for example `snakemake --executor slurm --jobs 50 --retries 3 --config profile=full
-- book`.

Settings (`--config`): profile (a name or a YAML file, default quick), compute (default True; False
shows the records that are there and computes nothing), strict (default False; True makes warnings
of the book errors).
"""

import os
from pathlib import Path
from shlex import quote

from lord.cli.opening import is_ours
from lord.study.notebooks import notebook_names, shown_in
from lord.study.profile import load_profile
from lord.study.run import results_root, status

PROFILE = config.get("profile", "quick")
COMPUTE = config.get("compute", True)
STRICT = config.get("strict", False)
# A profile of one's own is the path of a YAML file, and is called as that is.
OWN = PROFILE.endswith((".yaml", ".yml"))
NAME = load_profile(PROFILE).name
RESULTS = f"{results_root()}/{NAME}"
SETTINGS = PROFILE if OWN else f"lord/study/profiles/{NAME}.yaml"
# A change of the code draws every figure again; it recomputes nothing.
CODE = sorted(str(path) for path in Path("lord").rglob("*.py"))
# Stamps say that a job has been done; what it found is in the records beside them. `lord study run`
# recognises finished records itself, so a lost stamp costs seconds; a stamp whose record is lost is
# taken away.
STAMPS = f"{RESULTS}/.done"
# One thread for each job: results do not depend on the number of cores, and jobs run side by side.
ONE_THREAD = "OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 "
# What a job takes, for whoever shares machines out. Models of this package need no card, and no job
# of the published study took 3 GB, or half of the time; any other model has a card for itself. A job
# that is stopped for its time goes on, where it is tried again, with the first record it lacks.
MODELS = {getattr(own, "model", "embedded") for own in load_profile(PROFILE).sections.values()}
CARDS = 0 if all(map(is_ours, MODELS)) else 1
MEMORY_MB = 24000 if CARDS else 4000
MINUTES = 480


# A unit is what one process computes: all cells that agree in the coordinates that the profile
# splits by; what measures time for evidence is a unit for itself.
UNITS = {}
SPLIT, EVIDENCE = load_profile(PROFILE).split, load_profile(PROFILE).evidence
for entry in status(load_profile(PROFILE)):
    experiment = entry.experiment
    place = {"experiment": experiment.name} | dict(entry.cell.coordinates)
    alone = experiment.timed and EVIDENCE
    place = {k: v for k, v in place.items() if k in (["experiment"] if alone else SPLIT)}
    name = "-".join(map(str, place.values())) or "all"
    unit = UNITS.setdefault(name, {"place": place, "experiments": {}, "alone": alone})
    unit["experiments"][experiment.name] = experiment.needs
    if entry.state != "finished":
        Path(STAMPS, name).unlink(missing_ok=True)


def stamps_of(experiments):
    """The stamps of all units with cells of some experiments."""
    asked = set(experiments)
    return [f"{STAMPS}/{name}" for name, unit in UNITS.items() if asked & set(unit["experiments"])]


def needed_before(name):
    """The units of what the unit's experiments need, where both are of one domain."""
    own = UNITS[name]
    needs = {need for needs in own["experiments"].values() for need in needs}
    domain = own["place"].get("domain")
    units = {n: u for n, u in UNITS.items() if n != name and u["place"].get("domain") == domain}
    return [f"{STAMPS}/{n}" for n, unit in units.items() if needs & set(unit["experiments"])]


def threads_of(name):
    """One; but what measures time has the machine for itself."""
    return os.cpu_count() if UNITS[name]["alone"] else 1


def options_of(name):
    """All cells of the unit, and no others."""
    place = UNITS[name]["place"]
    options = [f"--experiment {experiment}" for experiment in UNITS[name]["experiments"]]
    options += [quote(f"-w{key}={value}") for key, value in place.items() if key != "experiment"]
    return " ".join(options)


# Chapters whose numbers begin alike share a process, and what it loads and reads.
CHAPTERS = {}
for notebook in notebook_names():
    CHAPTERS.setdefault(notebook[0], []).append(notebook)


def records_of(chapters):
    """The units that notebooks wait for or, where nothing is computed, the records as they are."""
    if COMPUTE:
        return stamps_of(experiment for name in chapters for experiment in shown_in(name))
    return sorted(str(path) for path in Path(RESULTS).glob("*.jsonl"))


wildcard_constraints:
    unit="(?!tables$)[a-z0-9_-]+",
    part="[0-9]",


localrules:
    book,
    tables,


rule book:
    input:
        expand(f"book/_executed/{NAME}/.{{part}}", part=CHAPTERS),
        "_config.yml",
        "_toc.yml",
        [str(path) for path in Path("book").glob("*.*")],
        [str(path) for path in Path("book/_static").glob("*.*")],
        [str(path) for path in results_root().glob("campaign.json")],
        [f"{STAMPS}/tables"] if COMPUTE else [],
    output:
        f"book/_build/{NAME}.built",
        "book/_build/html/index.html",
    params:
        strict="--strict" if STRICT else "",
    shell:
        # The book holds one profile at a time: another one's stamp is void now.
        "rm -f book/_build/*.built && lord study book --profile {PROFILE:q} {params.strict}"
        " && touch {output[0]:q}"


rule tables:
    input:
        [f"{STAMPS}/{name}" for name in UNITS],
        CODE,
    output:
        f"{STAMPS}/tables",
    shell:
        ONE_THREAD + "lord study tables --profile {PROFILE:q} > {output:q}"


rule chapters:
    input:
        lambda wildcards: expand("notebooks/{name}.ipynb", name=CHAPTERS[wildcards.part]),
        SETTINGS,
        CODE,
        lambda wildcards: records_of(CHAPTERS[wildcards.part]),
    output:
        touch(f"book/_executed/{NAME}/.{{part}}"),
    params:
        names=lambda wildcards: CHAPTERS[wildcards.part],
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        ONE_THREAD + "lord study notebook {params.names} --profile {PROFILE:q} -p compute={COMPUTE}"


rule unit:
    input:
        SETTINGS,
        lambda wildcards: needed_before(wildcards.unit),
    output:
        touch(f"{STAMPS}/{{unit}}"),
    params:
        options=lambda wildcards: options_of(wildcards.unit),
    threads: lambda wildcards: threads_of(wildcards.unit)
    resources:
        mem_mb=MEMORY_MB,
        runtime=MINUTES,
        gpu=CARDS,
    shell:
        ONE_THREAD + "lord study run --profile {PROFILE:q} {params.options}"
