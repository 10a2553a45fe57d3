"""The online trainer: one stream, an update after every few characters, a whole stretch of them in one compiled call."""
