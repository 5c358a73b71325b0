"""The CIFAR architectures of published robust checkpoints, their weights named as in the code that wrote them."""
