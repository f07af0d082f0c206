"""Releases: one consistent set of what answers a search, made once, never changed; and which one is served.

Below ``<home>/releases``::

    <name>/manifest.json    what it consists of, each file with its hash      manifest.py
    <name>/files/           those files, named as in the model repository
    models/                 a model repository for Triton: the models of staged releases
    state.json              which release is current, previous, staged, canary  state.py, changes.py
    command.lock            held by the command that loads or unloads models    command_lock.py

It imports nothing of ours: the command writes, the orchestrator follows.
"""
