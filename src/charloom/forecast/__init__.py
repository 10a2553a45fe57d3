"""What a training would come to, before it starts: settings, characters read, loss with an interval, memory, energy.

    text → facts (n-gram) ─┐
    settings, machine → speed → characters read → loss law → bits per character, 80 % interval
    settings, text → memory, part by part

`text_facts` measures the text, `calibration` the machine, `loss_law` has the fitted coefficients, and `forecast` joins them.
"""

from charloom.forecast.calibration import Speed, measure_speed
from charloom.forecast.forecast import Forecast, forecast
from charloom.forecast.loss_law import Estimate, LossLaw, fitted_law
from charloom.forecast.text_facts import TextFacts, measure_text

__all__ = [
    "Estimate",
    "Forecast",
    "LossLaw",
    "Speed",
    "TextFacts",
    "fitted_law",
    "forecast",
    "measure_speed",
    "measure_text",
]
