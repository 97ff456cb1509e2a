"""The mathematics as pure functions: tensors in, tensors out, no state, no model, no configuration.

Axes in names: ``_P`` prompts, ``_G`` completions of a group, ``_B`` flattened P·G, ``_T`` completion tokens,
``_V`` vocabulary. Masks are boolean, True where a token counts. Padded slots may hold anything, NaN included:
every function keeps them out of values and gradients.
"""
