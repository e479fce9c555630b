"""The colours of all figures, still and moving."""

# The light colours of js/figure.css.
PALETTE = {"data": "#3b6fb6", "model": "#d9722e", "drift": "#4f8a5b", "limit": "#8a4fa3", "ink": "#222222"}
INK = "#808791"  # readable on white and on dark paper: posters have no background
