"""Models and tokenizers: loading, chat templates, tokenising, the mask proof, batches, loss, likelihood, generation.

Shared by the worker packages; the lowest layer that imports torch and transformers. It trains and judges nothing.
"""

import os

# Workers speak through messages; bars on stderr would fill their logs. Read when transformers is first imported.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
