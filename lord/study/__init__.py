"""The study: profiles, experiments and their records, and the files made from them."""

from lord.study.run import run

__all__ = ["run"]
