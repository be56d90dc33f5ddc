"""Plans with phases."""

from typing import Any


def phase(depth: str, epochs: int, *rates: float, **more: object) -> dict[str, Any]:
    return {"from": depth, "epochs": epochs, "learning_rates": list(rates) or [0.003], **more}
