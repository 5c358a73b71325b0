"""The factories, one module for each thing that researchers bring: data, weights, or time to train."""
