"""Names of methods, networks, trainer, estimators, pooled baselines, splits."""
