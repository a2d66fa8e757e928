"""An embedded AWS for laptops: the template deployed into moto, a queue poller, the demo."""
