"""The viewer as a Hugging Face Space: the same page, for everyone who visits."""

from seewhy import load_model
from seewhy.app.limits import Limits
from seewhy.app.query import Network
from seewhy.app.serve import application, listen, run

# The networks that visitors can choose; add others by name, such as "torchvision:resnet50".
# The first one is selected at the start; it is for photos, and is installed with Seewhy.
NETWORKS = ("photos:efficientnet_lite0", "scenes:resnet")

# All visitors share one small machine, so the limits are lower than the viewer's defaults.
LIMITS = Limits(megabytes=10, megapixels=8, seconds=60, queue=16, maps=6, photos=4, results=2)

app = application(
    {name: Network(load_model(name)) for name in NETWORKS},
    LIMITS,
    hosts=["*.hf.space"],
    frames=["https://huggingface.co"],
)

if __name__ == "__main__":
    run(app, listen("0.0.0.0", 7860))
