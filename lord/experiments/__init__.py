"""The experiments of the study: a folder for each paper, in it one file for each experiment."""
