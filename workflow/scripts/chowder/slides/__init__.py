"""Reading slides: what they are, their pixels, tissue, the tile grid."""
