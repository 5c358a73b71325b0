"""The factories of this plugin. They import torch only when a component is built."""
