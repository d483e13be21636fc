"""A small model and data hub that the real huggingface_hub client works against."""
