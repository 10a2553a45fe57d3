"""Compiled loops: one library in C, and the Python that calls it.

    native/           the sources; `charloom.h` lists every struct and function
    library           loads the variant for this processor, and declares what the header lists
    masks             random numbers of dropout
    linear_scan       the linear recurrence of minGRU
    suffix_automaton  the longest substrings that two texts share

The engines call the rest themselves. Without the library, `masks`, `linear_scan` and `suffix_automaton` use NumPy or
plain Python, and the torch engine its own forms; the fused engine needs it.
"""
