"""Models that change the likelihood or the error of images."""
