"""Speed of encoders, of Triton and of whole searches, measured side by side in one run."""
