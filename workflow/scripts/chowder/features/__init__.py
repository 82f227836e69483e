"""Tiles to feature vectors: encoders, embedding, feature files, bags, sampling."""
