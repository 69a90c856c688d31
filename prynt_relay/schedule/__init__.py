"""When: the timer wheel, the retry policy and the 24-hour rule. Pure, driven by a Clock."""
