"""The study: profiles, experiments, their records, and the tables made from them."""

from lord.study.run import run

__all__ = ["run"]
