"""Verification of robustness claims by the host's own attacks and checks: the battery.

A battery belongs to (model, norm, eps) and uses no plugin, so every evaluation of that model in that
ball is compared with the same evidence. A battery attacks a fixed sample of test images in several
ways (`battery_attacks`) and checks the model itself (`model_checks`). What an evaluation missed is
counted in `advtransfer.result.comparison`, also when a record is read.
"""

from advtransfer.worker.verification.battery import BatteryResult, run_battery
from advtransfer.worker.verification.config import BatteryConfig, ThreatModel

__all__ = ["BatteryConfig", "BatteryResult", "ThreatModel", "run_battery"]
