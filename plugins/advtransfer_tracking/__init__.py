"""Trackers: TensorBoard, MLflow and Weights & Biases hear of a run by the hooks of `advtransfer.hookspecs`.

Each is a plugin without components: ``run --plugin tensorboard``, ``mlflow`` or ``wandb``, or the user's
configuration, switches it on; a suite never does. Their libraries are imported when a run starts.
"""
