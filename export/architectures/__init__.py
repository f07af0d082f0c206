"""One module for each architecture that a profile may name (docs/encoders.md).

Such a module has

    build(config) -> nn.Module    the encoder, freshly initialised; its ``width`` is the size of what it gives
    state(files, config) -> dict  a checkpoint's tensors by the names of that module, all of them

What the encoder takes and gives depends on what it encodes: see ``export.encoded``.
"""
