"""Refinements: functions of a probe and a method. Importing this package registers them all."""

from seewhy.refine import gradual, multiscale, refine_cam, sharpen, smooth

__all__ = ["gradual", "multiscale", "refine_cam", "sharpen", "smooth"]
