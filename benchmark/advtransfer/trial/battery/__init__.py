"""The trust battery: what the host itself finds out about a model inside a ball, to hold evaluations against it.

It belongs to (model, norm, eps), asks no plugin and knows none, so that every evaluation of that model in that ball is
held to the same evidence. One run of it attacks a fixed draw of test samples in several ways (`probes`), and looks at
the model itself (`model`); `compare` then asks of an evaluation: did it miss what these found?
"""

from advtransfer.trial.battery.compare import compared
from advtransfer.trial.battery.design import Battery, Threat
from advtransfer.trial.battery.run import Findings, run_battery

__all__ = ["Battery", "Findings", "Threat", "compared", "run_battery"]
