"""How fast the renderers draw, and what they draw."""

import time

from lord.data.subjects import sample_domain
from lord.study.bench import Bench, Outcome, rows


def measure_data(bench: Bench) -> Outcome:
    """How fast the renderers draw, and one row of pictures of each domain."""
    size, count = bench.profile.size, 256
    metrics, pictures = {}, []
    for domain in bench.profile.domains:
        sample_domain(domain, "train", range(64), size)  # the first call pays for set-up
        start = time.perf_counter()
        batch = sample_domain(domain, "train", range(count), size)
        metrics[f"{domain}_per_second"] = count / (time.perf_counter() - start)
        pictures.append(batch.images[:8])
    return Outcome(metrics, sheet=rows(*pictures))
