"""Evasion: attacks that make a classifier err on a picture, alone or behind a purifier."""
