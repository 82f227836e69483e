"""Weakly supervised whole-slide analysis: the science of the workflow, free of Snakemake.

Every module is one idea and can be used alone from a notebook, for example ``from chowder.evaluation import froc``.
Nothing is imported here, so that importing one light module never pays for torch.
"""
