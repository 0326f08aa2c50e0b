"""Methods: functions of a probe. Importing this package registers them all."""

from seewhy.methods import cam, guidance

__all__ = ["cam", "guidance"]
