"""Low-Rank Defense (arXiv 2602.10319): its experiments, and what it is compared with.

Files here declare experiments; `protocol` and `conditions` have what these share, ``chain`` what
they compute, from photographs to numbers, ``tables`` what is made of the numbers.
"""
