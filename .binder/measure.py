"""Build what Binder builds, without Docker, run every notebook in it alone, write book/binder.csv.

Called by ``make binder``, with the environment of the study. A clone of the last commit gets the
packages of ``environment.yml`` and ``postBuild``; each notebook then runs as a visitor finds it.
Seconds are those of a processor, so that what else the machine does is not counted.
"""

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import papermill
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
MIB = 2**20


def build(folder: Path) -> Path:
    """Clone and install below a folder, as repo2docker would; return the clone."""
    clone, python = folder / "clone", folder / "env" / "bin" / "python"
    origin = ["--depth", "1", REPOSITORY.as_uri(), str(clone)]
    subprocess.run(["git", "clone", "--quiet", *origin], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    listed = yaml.safe_load((clone / ".binder" / "environment.yml").read_text("utf-8"))
    packages = next(entry["pip"] for entry in listed["dependencies"] if isinstance(entry, dict))
    lines = folder / "requirements.txt"
    lines.write_text("\n".join(packages) + "\n", encoding="utf-8")
    # An index that cannot be reached costs no retries, as in the Makefile.
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", "--retries", "0"]
    subprocess.run([*install, "--requirement", str(lines)], check=True)
    path = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([".binder/postBuild"], check=True, cwd=clone, env=os.environ | path)
    kernel = folder / "share" / "kernels" / "binder" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": command, "display_name": "Binder"}), encoding="utf-8")
    return clone


def run(notebook: Path) -> None:
    """Run a notebook alone; print its seconds, and the MiB that it held at its peak, as JSON."""
    target = str(notebook.with_suffix(".run.ipynb"))
    papermill.execute_notebook(
        str(notebook), target, kernel_name="binder", cwd=str(notebook.parent), progress_bar=False
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # Linux counts in KiB
    print(json.dumps([seconds(), peak / MIB]))


def seconds() -> float:
    """Seconds that a processor has worked for the processes that this one has started and ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(folder: Path) -> list[dict[str, object]]:
    """The rows of the table: the environment, then each notebook in its order."""
    clone = build(folder)
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    rows = [row("the environment and the clone", seconds(), "", size / MIB)]
    for notebook in sorted((clone / "notebooks").glob("[0-9]*.ipynb")):
        command = [sys.executable, __file__, str(notebook)]
        share = os.environ | {"JUPYTER_PATH": str(folder / "share"), "OMP_NUM_THREADS": "1"}
        answer = subprocess.run(command, check=True, capture_output=True, text=True, env=share)
        rows.append(row(notebook.stem, *json.loads(answer.stdout.splitlines()[-1]), ""))
        print(*rows[-1].values(), flush=True)
    return rows


def row(what: str, spent: float, memory: object, disk: object) -> dict[str, object]:
    megabytes = {"MiB in memory": memory, "MiB on disk": disk}
    rounded = {key: round(value) if value else "" for key, value in megabytes.items()}
    return {"": what, "seconds": round(spent), **rounded}


if __name__ == "__main__":
    if sys.argv[1:]:
        run(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(Path(folder))
        with (REPOSITORY / "book" / "binder.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
