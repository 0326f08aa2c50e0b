"""Every method and refinement, as tests ask for them."""

from __future__ import annotations

import seewhy

# Options that keep a run short; everything else runs with its defaults.
SHORT = {
    "gig_cam": "steps=3",
    "guided_integrated_gradients": "steps=3",
    "integrated_grad_cam": "steps=3",
    "integrated_gradients": "steps=3",
    "is_cam": "steps=2",
    "occlusion": "patch=6",
    "rise": "masks=30",
    "smooth": "samples=2",
    "smooth_grad_cam_plus_plus": "samples=2",
    "ss_cam": "samples=2",
}


def short(name: str) -> str:
    return f"{name}({SHORT[name]})" if name in SHORT else name


# These want a network with attention, `networks.Attending`; the others are asked of any.
OF_ATTENTION = ["attention_gradient", "attention_rollout", "attention_x_gradient", "le_grad"]
EVERY = [
    *(short(name) for name in seewhy.list_methods() if name not in OF_ATTENTION),
    *(f"grad_cam+{short(name)}" for name in seewhy.list_refinements()),
]
