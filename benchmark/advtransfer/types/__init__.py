"""Types of the plugin API: factories with their metadata, protocols of the components, and their values.

Imports torch and numpy for the type checker only.
"""

from typing import TYPE_CHECKING

from advtransfer.deprecation import deprecated_names
from advtransfer.types.factory import (
    ComponentMetadata,
    Factory,
    File,
    Folder,
    Json,
    Need,
    NotInId,
    P,
    Shape,
    Since,
    T,
    Task,
    component,
    metadata_of,
)
from advtransfer.types.figures import (
    Drawing,
    FigureInputs,
    FigureKeyType,
    FigureKind,
    FigureRow,
)
from advtransfer.types.protocols import (
    Adapter,
    BatterySize,
    Check,
    CheckStatus,
    Context,
    DataCard,
    Dataset,
    Evaluation,
    EvaluationInputs,
    Examples,
    Fitted,
    Measurement,
    Network,
    Outcome,
    Part,
    Precision,
    Samples,
    Source,
    SourceCard,
    Tensors,
    Transfer,
    Weights,
)

__all__ = [
    "Adapter",
    "BatterySize",
    "Check",
    "CheckStatus",
    "ComponentMetadata",
    "Context",
    "DataCard",
    "Dataset",
    "Drawing",
    "Evaluation",
    "EvaluationInputs",
    "Examples",
    "Factory",
    "FigureInputs",
    "FigureKeyType",
    "FigureKind",
    "FigureRow",
    "File",
    "Fitted",
    "Folder",
    "Json",
    "Measurement",
    "Need",
    "Network",
    "NotInId",
    "Outcome",
    "P",
    "Part",
    "Precision",
    "Samples",
    "Shape",
    "Since",
    "Source",
    "SourceCard",
    "T",
    "Task",
    "Tensors",
    "Transfer",
    "Weights",
    "component",
    "metadata_of",
]

if not TYPE_CHECKING:  # Hidden from mypy, so that it reports uses of the old names.
    __getattr__ = deprecated_names(
        __name__,
        {
            "Executor": "advtransfer.jobs:Executor",
            "Facts": "advtransfer.types:ComponentMetadata",
            "Given": "advtransfer.types:EvaluationInputs",
            "Grade": "advtransfer.types:CheckStatus",
            "Job": "advtransfer.jobs:Job",
            "NotAsked": "advtransfer.types:NotInId",
            "Report": "advtransfer.jobs:Report",
            "facts_of": "advtransfer.types:metadata_of",
        },
    )
