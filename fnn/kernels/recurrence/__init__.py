"""Recurrence: cells over the fast `core`, any cell over a plain `scan`, and sequences of several lengths."""

from fnn.kernels.recurrence.elman import rnn
from fnn.kernels.recurrence.gru import gru
from fnn.kernels.recurrence.lstm import LSTMState, lstm
from fnn.kernels.recurrence.scan import scan_cell
from fnn.kernels.recurrence.sequences import reverse_sequences

__all__ = ["LSTMState", "gru", "lstm", "reverse_sequences", "rnn", "scan_cell"]
