"""Factories of this plugin. They import torch and Foolbox only when an evaluation is built."""
