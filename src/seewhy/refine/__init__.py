"""Refinements: functions of a probe and a method. Importing this package registers them all."""

from seewhy.refine import detail, gradual, multiscale, refine_cam, sharpen, smooth

__all__ = ["detail", "gradual", "multiscale", "refine_cam", "sharpen", "smooth"]
