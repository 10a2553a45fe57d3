"""The online trainer: one stream, an update every few characters, and many updates in one compiled call."""
