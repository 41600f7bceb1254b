"""Low-Rank Defense (arXiv 2602.10319): its experiments, and what it is compared with.

Each file here is an experiment; `protocol` and `conditions` have what they share, ``chain`` what
they compute, from photographs to numbers, ``tables`` what is made of the numbers.
"""
